from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_chassis.health import HealthChecks
from mtenant_chassis.testing import RecordingEvents, running
from mtenant_config import Secret
from mtenant_database import HealthStatus

pytestmark = pytest.mark.anyio
ALIASES = [("/live", "/livez"), ("/ready", "/readyz"), ("/health", "/healthz")]


async def test_a_healthy_service_says_so_everywhere(notes_app: Any, redis_url: str) -> None:
    app = notes_app(redis_url=Secret(redis_url), events=RecordingEvents().open, version="1.2.3")
    async with running(app) as client:
        live = await client.get("/live")
        ready = await client.get("/ready")
        health = await client.get("/health")
        detailed = await client.get("/health/detailed")
        database = await client.get("/health/database")
        metrics = await client.get("/metrics")

    answers = (live, ready, health, detailed, database, metrics)
    assert [one.status_code for one in answers] == [200] * 6
    assert live.json() == {"status": "alive"}
    assert ready.json() == {"status": "ready", "phase": "ready", "database": "healthy"}
    body = health.json()
    assert (body["status"], body["version"]) == ("healthy", "1.2.3")
    assert body["services"] == {"database": "healthy", "cache": "healthy", "events": "healthy"}
    assert set(body) == {"status", "timestamp", "uptime", "version", "services", "database"}
    more = detailed.json()
    assert {"memory", "disk"} <= more["services"].keys()
    assert more["memory"]["peak_bytes"] > 1_000_000
    assert more["disk"]["free_bytes"] <= more["disk"]["total_bytes"]
    assert database.json()["database"]["pool_stats"]["max_open_connections"] == 10
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(("path", "alias"), ALIASES)
async def test_an_alias_says_the_same_and_is_in_no_document(
    notes_app: Any, path: str, alias: str
) -> None:
    app = notes_app()
    async with running(app) as client:
        one, two = await client.get(path), await client.get(alias)

    assert (one.status_code, one.json().keys()) == (two.status_code, two.json().keys())
    assert path in app.openapi()["paths"]
    assert alias not in app.openapi()["paths"]


async def test_probes_ask_for_no_token_and_care_for_none(notes_app: Any) -> None:
    async with running(notes_app()) as client:
        for path in ("/live", "/ready", "/health"):
            for field in ("Bearer x", "Basic x", ""):
                answer = await client.get(path, headers={"authorization": field})
                assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/health/detailed", "/health/database"])
async def test_what_tells_a_lot_is_for_operators(notes_app: Any, path: str) -> None:
    secret = "an-operators-secret"
    closed = notes_app(environment="production")
    open_to_some = notes_app(environment="production", ops_token=Secret(secret))
    async with running(closed) as client:
        unset = await client.get(path, headers={"authorization": f"Bearer {secret}"})
        nobody = await client.get(path)
    async with running(open_to_some) as client:
        right = await client.get(path, headers={"authorization": f"Bearer {secret}"})
        wrong = await client.get(path, headers={"authorization": "Bearer somebody"})
        odd = await client.get(path, headers=[(b"authorization", b"Bearer \xe4")])
        none = await client.get(path)

    assert right.status_code == 200
    assert [one.status_code for one in (unset, nobody, wrong, odd, none)] == [401] * 5
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_a_dependency_that_is_not_critical_makes_it_unhealthy_and_leaves_it_ready(
    notes_app: Any,
) -> None:
    class Ill(RecordingEvents):
        async def healthy(self) -> bool:
            raise OSError("no")

    async with running(notes_app(events=Ill().open)) as client:
        health, ready = await client.get("/health"), await client.get("/ready")

    assert health.status_code == 503
    assert health.json()["status"] == "degraded"
    assert health.json()["services"]["events"] == "unhealthy"
    assert ready.status_code == 200


async def test_a_probe_that_hangs_is_unhealthy(
    notes_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtenant_chassis.health.PROBE", 0.01)

    class Hangs(RecordingEvents):
        async def healthy(self) -> bool:
            await asyncio.Event().wait()
            return True

    async with running(notes_app(events=Hangs().open)) as client:
        answer = await client.get("/health")

    assert answer.json()["services"]["events"] == "unhealthy"


async def test_a_flood_of_questions_is_one_look() -> None:
    looks, go_on = 0, asyncio.Event()

    async def look() -> HealthStatus:
        nonlocal looks
        looks += 1
        await go_on.wait()
        raise LookupError

    checks = HealthChecks(look)
    async with asyncio.timeout(30):
        first = asyncio.create_task(checks.check())
        others = [asyncio.create_task(checks.check()) for _ in range(100)]
        await asyncio.sleep(0)
        first.cancel()  # whoever asked first and went away takes nothing from the others
        await asyncio.wait({first})
        go_on.set()
        found = await asyncio.gather(*others, return_exceptions=True)

    assert looks == 1
    assert all(isinstance(one, LookupError) for one in found)


async def test_while_it_stops_it_is_not_ready_and_answers_all_the_same(notes_app: Any) -> None:
    app = notes_app()
    async with running(app) as client:
        app.state.chassis.drain()
        ready = await client.get("/ready")
        live = await client.get("/live")
        request = await client.get("/api/notes/open")

    assert ready.status_code == 503
    assert ready.json()["phase"] == "draining"
    assert (live.status_code, request.status_code) == (200, 200)
