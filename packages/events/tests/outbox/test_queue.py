"""Batches of the outbox: whose they are, how large, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mtenant_events.store import fault, statements
from mtenant_events.store.errors import OutboxUnavailable
from mtenant_events.store.queue import OutboxQueue
from mtenant_events.store.row import Failure


@pytest.fixture(params=["listens", "polls"])
def queue_of(request: pytest.FixtureRequest, place: Any) -> Callable[[], OutboxQueue]:
    """Makes queues: one that listens has a connection of its own, and plans its statements once."""
    return lambda: OutboxQueue(place.app, listen=request.param == "listens")


def test_a_batch_is_one_relays_until_it_ends(
    place: Any, queue_of: Callable[[], OutboxQueue]
) -> None:
    place.fill("s", "acme", ["k"] * 3)

    async def main() -> None:
        async with queue_of() as one, queue_of() as other:
            batch = await one.take(10)
            nothing = await other.take(10)
            assert (len(batch.rows), batch.more) == (3, False)
            assert (nothing.rows, nothing.more) == ((), True)
            await one.finish(batch.rows[:1], [])
            assert [row.id for row in (await other.take(10)).rows] == [
                row.id for row in batch.rows[1:]
            ]

    asyncio.run(main())


def test_another_tenant_is_another_relays_at_the_same_time(
    place: Any, queue_of: Callable[[], OutboxQueue]
) -> None:
    for n in range(40):
        place.fill("s", f"t{n}", ["k"])

    async def main() -> None:
        async with queue_of() as one, queue_of() as other:
            first, second = await one.take(100), await other.take(100)
            assert first.rows
            assert second.rows
            assert len({row.id for row in first.rows + second.rows}) == 40

    asyncio.run(main())


def test_a_relay_that_vanishes_in_a_batch_is_freed_of_it_by_the_server(
    place: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    queue_of: Callable[[], OutboxQueue],
) -> None:
    place.fill("s", "acme", ["k"])

    async def main() -> None:
        async with queue_of() as one, queue_of() as other:
            with monkeypatch.context() as patch:
                patch.setattr(statements, "STALE", "100ms")
                assert (await one.take(10)).rows
            open_ones = "select count(*) from pg_locks where locktype = 'advisory'"
            await eventually(lambda: place.value(open_ones) == 0)
            assert (await other.take(10)).rows
            with pytest.raises(OutboxUnavailable):
                await one.finish([], [])

    asyncio.run(main())


def test_a_batch_is_bounded_by_bytes_too_and_takes_at_least_one(
    place: Any, monkeypatch: pytest.MonkeyPatch, queue_of: Callable[[], OutboxQueue]
) -> None:
    place.run(
        "insert into eventing.outbox (tenant, key, subject, headers, body)"
        " select 'acme', n::text, 's', '{}', convert_to(repeat('x', 1000), 'utf8')"
        " from generate_series(1, 10) n"
    )

    async def main() -> None:
        async with queue_of() as queue:
            for most, rows in ((3500, 4), (1, 1), (100_000, 10)):
                monkeypatch.setattr(statements, "MOST_BYTES", most)
                batch = await queue.take(100)
                assert (len(batch.rows), batch.more) == (rows, rows < 10)
                await queue.finish([], [])

    asyncio.run(main())


def test_ending_a_batch_touches_no_row_but_those_it_names(
    place: Any, queue_of: Callable[[], OutboxQueue]
) -> None:
    place.fill("s", "acme", list("abcd"))

    async def main() -> None:
        async with queue_of() as queue:
            a, b, c, d = (await queue.take(10)).rows
            # Somebody has moved one meanwhile: its place is empty now.
            place.run("update eventing.outbox set attempts = 7 where key = 'b'")
            error = 'it\'s \\ "quoted"; and {braced}'
            await queue.finish([a, b], [Failure(c, error, 60.0)])
        assert d.key == "d"
        assert place.run(
            "select key, attempts, last_error, delayed_until > now() from eventing.outbox order by id"
        ) == [("b", 7, None, None), ("c", 1, error, True), ("d", 0, None, None)]

    asyncio.run(main())


def test_a_server_that_says_nothing_is_given_up(
    place: Any, monkeypatch: pytest.MonkeyPatch, queue_of: Callable[[], OutboxQueue]
) -> None:
    monkeypatch.setattr(fault, "ANSWER_TIMEOUT", 0.2)

    async def main() -> None:
        async with queue_of() as queue:
            with pytest.raises(OutboxUnavailable):
                async with fault.translated():
                    await queue._connected.execute("select pg_sleep(3600)")

    asyncio.run(main())


def test_status_counts_rows_and_failures(place: Any, queue_of: Callable[[], OutboxQueue]) -> None:
    async def main() -> None:
        async with queue_of() as queue:
            assert (await queue.status()).pending == 0
            place.fill("s", "acme", ["a", "b"])
            batch = await queue.take(10)
            await queue.finish([], [Failure(batch.rows[0], "no", 1.0)])
            status = await queue.status()
            assert (status.pending, status.failed) == (2, 1)
            assert status.oldest_age > 0

    asyncio.run(main())


def test_a_queue_that_is_not_open_says_so(place: Any, queue_of: Callable[[], OutboxQueue]) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(queue_of().take(1))
