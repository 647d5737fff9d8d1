from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from mtenant_database import health
from mtenant_database.health import health_check, is_healthy
from mtenant_database.metrics import Metrics
from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.2)


@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_database_that_answers_is_healthy(place: Any, autocommit: bool) -> None:
    metrics = Metrics()
    async with Pool(place.app, min_size=2, open=False, kwargs={"autocommit": autocommit}) as pool:
        await pool.wait()
        status = await health_check(pool, metrics=metrics)
        assert status.healthy
        assert status.error == ""
        assert timedelta(0) < status.response_time < timedelta(seconds=5)
        assert (status.stats.open_connections, status.stats.in_use) == (2, 0)
        assert await is_healthy(pool, metrics=metrics)
        assert pool.get_stats()["pool_available"] == 2
    counted = metrics.snapshot()
    assert (counted.health_checks, counted.failed_health_checks) == (2, 0)
    assert counted.last_health_check > 0


async def test_a_status_can_be_sent_as_it_is(place: Any) -> None:
    async with Pool(place.app, min_size=1, open=False) as pool:
        body = json.loads(json.dumps((await health_check(pool)).to_dict()))
    assert body["healthy"] is True
    assert body["response_time"].endswith("ms")
    assert "error" not in body
    assert body["stats"]["max_conns"] == body["stats"]["max_open_connections"] == 1


async def test_a_pool_that_is_closed_is_not_healthy(place: Any) -> None:
    metrics = Metrics()
    pool = Pool(place.app, min_size=1, open=False)
    status = await health_check(pool, metrics=metrics)
    assert not status.healthy
    assert "is not open yet" in status.to_dict()["error"]
    assert metrics.snapshot().failed_health_checks == 1


@pytest.mark.usefixtures("soon")
async def test_a_database_that_is_down_is_not_healthy_and_the_password_is_not_shown(
    eventually: Any,
) -> None:
    url = "postgresql://app:hunter2@127.0.0.1:1/hunter2"
    async with Pool(url, min_size=1, open=False) as pool:
        await eventually(lambda: pool.last_failure)
        status = await health_check(pool)
    assert not status.healthy
    assert "127.0.0.1" in status.error
    assert "hunter2" not in status.error


@pytest.mark.usefixtures("soon")
async def test_a_connection_string_that_cannot_be_read_is_not_repeated(
    eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Pool("hunter2 x", min_size=1, open=False) as pool:
        await eventually(lambda: pool.last_failure)
        status = await health_check(pool)
    assert "the connection string cannot be read" in status.error
    assert "hunter2" not in f"{status}{caplog.text}"


@pytest.mark.usefixtures("soon")
async def test_a_pool_whose_connections_are_all_on_loan_is_not_healthy(place: Any) -> None:
    async with Pool(place.app, min_size=1, open=False) as pool, pool.connection():
        status = await health_check(pool)
    assert not status.healthy
    assert status.stats.in_use == 1


async def test_a_check_that_is_cancelled_is_cancelled(place: Any) -> None:
    async with Pool(place.app, min_size=1, open=False) as pool, pool.connection():
        checking = asyncio.create_task(health_check(pool))
        await asyncio.sleep(0)
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
