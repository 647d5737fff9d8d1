"""Batches of the outbox: whose they are, how large, and what ends them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_events.store import fault, statements
from mtenant_events.store.errors import OutboxUnavailable
from mtenant_events.store.queue import OutboxQueue
from mtenant_events.store.row import Failure


def _queue(place: Any) -> OutboxQueue:
    return OutboxQueue(place.app, listen=False)


def test_a_batch_is_one_relays_until_it_ends(place: Any) -> None:
    place.fill("s", "acme", ["k"] * 3)

    async def main() -> None:
        async with _queue(place) as one, _queue(place) as other:
            batch = await one.take(10)
            nothing = await other.take(10)
            assert (len(batch.rows), batch.more) == (3, False)
            assert (nothing.rows, nothing.more) == ((), True)
            await one.finish(batch.rows[:1], [])
            assert [row.id for row in (await other.take(10)).rows] == [
                row.id for row in batch.rows[1:]
            ]

    asyncio.run(main())


def test_a_batch_reads_no_more_than_it_takes_however_long_the_queue_was_empty(
    place: Any,
) -> None:
    async def main() -> None:
        async with _queue(place) as queue:
            for _ in range(8):  # whatever the server keeps of these must not be for empty tables
                assert not (await queue.take(100)).rows
            place.run(
                "insert into eventing.outbox (tenant, key, subject, headers, body)"
                " select 'acme', 'k' || n % 50, 's', '{}', 'b' from generate_series(1, 20000) n"
            )
            for _ in range(3):
                batch = await queue.take(100)
                read = await queue._connected.execute(
                    "select idx_tup_fetch + seq_tup_read from pg_stat_xact_all_tables"
                    " where schemaname = 'eventing' and relname = 'outbox'"
                )
                assert len(batch.rows) == 100
                assert (await read.fetchall())[0][0] < 1000
                await queue.finish(batch.rows, [])

    asyncio.run(main())


def test_another_tenant_is_another_relays_at_the_same_time(place: Any) -> None:
    for n in range(40):
        place.fill("s", f"t{n}", ["k"])

    async def main() -> None:
        async with _queue(place) as one, _queue(place) as other:
            first, second = await one.take(100), await other.take(100)
            assert first.rows
            assert second.rows
            assert len({row.id for row in first.rows + second.rows}) == 40

    asyncio.run(main())


def test_a_relay_that_vanishes_in_a_batch_is_freed_of_it_by_the_server(
    place: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill("s", "acme", ["k"])

    async def main() -> None:
        async with _queue(place) as one, _queue(place) as other:
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
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run(
        "insert into eventing.outbox (tenant, key, subject, headers, body)"
        " select 'acme', n::text, 's', '{}', convert_to(repeat('x', 1000), 'utf8')"
        " from generate_series(1, 10) n"
    )

    async def main() -> None:
        async with _queue(place) as queue:
            for most, rows in ((3500, 4), (1, 1), (100_000, 10)):
                monkeypatch.setattr(statements, "MOST_BYTES", most)
                batch = await queue.take(100)
                assert (len(batch.rows), batch.more) == (rows, rows < 10)
                await queue.finish([], [])

    asyncio.run(main())


def test_ending_a_batch_touches_no_row_but_those_it_names(place: Any) -> None:
    place.fill("s", "acme", list("abcd"))

    async def main() -> None:
        async with _queue(place) as queue:
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
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault, "ANSWER_TIMEOUT", 0.2)

    async def main() -> None:
        async with _queue(place) as queue:
            with pytest.raises(OutboxUnavailable):
                async with fault.translated():
                    await queue._connected.execute("select pg_sleep(3600)")

    asyncio.run(main())


def test_status_counts_rows_and_failures(place: Any) -> None:
    async def main() -> None:
        async with _queue(place) as queue:
            assert (await queue.status()).pending == 0
            place.fill("s", "acme", ["a", "b"])
            batch = await queue.take(10)
            await queue.finish([], [Failure(batch.rows[0], "no", 1.0)])
            status = await queue.status()
            assert (status.pending, status.failed) == (2, 1)
            assert status.oldest_age > 0

    asyncio.run(main())


def test_a_queue_that_is_not_open_says_so(place: Any) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(_queue(place).take(1))
