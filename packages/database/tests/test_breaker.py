"""The circuit breaker: by itself on a clock of its own, and before a server that goes away."""

from __future__ import annotations

from typing import Any

import pytest

from mtenant_database.breaker import THRESHOLD, Breaker
from mtenant_database.database import Database
from mtenant_database.errors import DatabaseUnavailable, StatementFault

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(breaker: Breaker) -> int | None:
    """Return `retry_after` if the breaker lets nobody pass."""
    try:
        breaker.check()
    except DatabaseUnavailable as exc:
        return int(exc.retry_after or 0)
    return None


def opened(clock: Clock) -> tuple[Breaker, list[int]]:
    count: list[int] = []
    breaker = Breaker(lambda: count.append(1), clock=clock)
    for _ in range(THRESHOLD):
        assert breaker.state == "closed"
        assert refused(breaker) is None
        breaker.failed()
    return breaker, count


async def test_it_opens_after_failures_in_a_row_and_lets_one_try() -> None:
    clock = Clock()
    breaker, count = opened(clock)

    assert (breaker.state, refused(breaker), len(count)) == ("open", 1, 1)
    breaker.failed()  # one that was under way
    assert refused(breaker) == 1
    clock.now += 1.0
    assert breaker.state == "half-open"
    assert refused(breaker) is None
    assert (breaker.state, refused(breaker)) == (
        "open",
        1,
    )  # the others wait for the one that tries
    breaker.failed()
    assert refused(breaker) == 2
    clock.now += 2.0
    assert refused(breaker) is None
    breaker.succeeded()
    assert (breaker.state, refused(breaker)) == ("closed", None)


async def test_the_pause_has_an_end_and_whoever_tries_may_vanish() -> None:
    clock = Clock()
    breaker, count = opened(clock)
    for _ in range(10):
        clock.now += 30.0
        assert refused(breaker) is None
        breaker.failed()
    assert refused(breaker) == 30
    clock.now += 30.0
    assert refused(breaker) is None  # and nothing is heard of it
    clock.now += 30.0
    assert refused(breaker) is None
    assert len(count) == 1


async def test_an_answer_in_between_begins_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(3 * THRESHOLD):
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"


async def test_errors_of_statements_do_not_count(db: Database, place: Any) -> None:
    acme = db.tenant(place.fresh())
    for _ in range(2 * THRESHOLD):
        with pytest.raises(StatementFault):
            await acme.fetch_all("select 1/0")
    assert db.breaker.state == "closed"
    assert await acme.fetch_value("select 1") == 1


async def test_before_a_server_that_went_away_callers_are_told_at_once_and_then_it_is_back(
    place: Any, proxy: Any
) -> None:
    tenant = place.fresh()
    config = place.config(url=proxy.url, max_open_conns=6, max_idle_conns=6)
    async with Database(config) as db:
        acme = db.tenant(tenant)
        await db.pool.wait()
        proxy.refuse = True
        for writer in list(proxy.writers):
            writer.transport.abort()
        for _ in range(THRESHOLD):
            with pytest.raises(DatabaseUnavailable):
                await acme.fetch_value("select 1")
        with pytest.raises(DatabaseUnavailable) as caught:
            await acme.fetch_value("select 1")
        assert "circuit breaker" in str(caught.value.internal)
        assert caught.value.retry_after == 1
        assert db.metrics.snapshot().breaker_opened == 1
        assert db.metrics.snapshot().to_dict()["database_breaker_opened_total"] == 1

        proxy.refuse = False

        for _ in range(100):  # each takes its time to connect
            if (await db.health_check()).healthy:
                break
        status = await db.health_check()
        assert (status.breaker, status.to_dict()["breaker"]) == ("closed", "closed")
        assert await acme.fetch_value("select 1") == 1
