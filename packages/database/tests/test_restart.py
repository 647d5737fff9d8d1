# ruff: noqa: PT017 -- calls that may or may not fail; a bounded wait for many small things
"""A server that is killed under load: nothing wrong is answered, and nothing has to be restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from mtenant_database.commit import CommitLost, resolve
from mtenant_database.database import Database
from mtenant_database.errors import CommitUnknown, DatabaseUnavailable, PoolExhausted
from mtenant_devstack import Server, Stack

pytestmark = pytest.mark.anyio

WORKERS = 8


@pytest.fixture
def durable() -> Iterator[Server]:
    # Acknowledged rows must survive the kill, which quick mode does not promise.
    with Stack(["postgres"], mode="durable") as stack:
        yield stack.postgres


async def test_a_killed_server_loses_no_committed_row_and_serves_again(
    durable: Server, place_on: Callable[[str], Any]
) -> None:
    place = place_on(durable.url)
    tenants = [place.fresh() for _ in range(2)]
    committed: dict[str, set[int]] = {tenant: set() for tenant in tenants}
    unknown: dict[str, set[int]] = {tenant: set() for tenant in tenants}
    refused = served_after = 0
    restarted, stop = asyncio.Event(), asyncio.Event()

    async with Database(
        place.config(retry_interval=timedelta(seconds=0.1), connect_timeout=timedelta(seconds=0.5))
    ) as db:

        async def work(worker: int) -> None:
            nonlocal refused, served_after
            tenant = tenants[worker % 2]
            handle = db.tenant(tenant)
            number = worker + WORKERS
            while not stop.is_set():
                number += WORKERS
                was_restarted = restarted.is_set()
                try:
                    if number % 3:
                        await handle.execute(
                            "insert into contacts values (%s, %s)", [number, tenant]
                        )
                    else:
                        async with handle.transaction() as tx:
                            await tx.execute(
                                "insert into contacts values (%s, %s)", [number, tenant]
                            )
                    committed[tenant].add(number)
                    assert await handle.fetch_all(
                        "select name from contacts where id = %s", [number]
                    ) == [(tenant,)]
                    served_after += was_restarted
                except CommitUnknown as error:
                    assert error.status_code == 503
                    unknown[tenant].add(number)
                except (DatabaseUnavailable, PoolExhausted) as error:
                    assert error.status_code == 503
                    refused += 1
                    await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            for worker in range(WORKERS):
                group.create_task(work(worker))
            await _until(lambda: len(committed[tenants[0]]) > 20)
            await asyncio.to_thread(durable.kill)
            await _until(lambda: refused > 3)
            await asyncio.to_thread(durable.start)
            restarted.set()
            await _until(lambda: served_after > 20)
            stop.set()

    for tenant in tenants:
        rows = place.run(f"select id, name from tenant_{tenant}.contacts where id > 1")
        there = {number for number, _ in rows}
        assert {name for _, name in rows} == {tenant}
        assert committed[tenant] <= there
        assert there <= committed[tenant] | unknown[tenant]


async def _until(predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not predicate():
            await asyncio.sleep(0.005)


async def _left_open(db: Database) -> tuple[Any, str, str | None]:
    """Return a connection whose transaction has an id, that id, and where it was given."""
    conn = await db._engine.borrow(None)
    await conn.execute("begin")
    cursor = await conn.execute("select pg_current_xact_id()::text")
    [(xid,)] = await cursor.fetchall()
    return conn, xid, db._engine.timelines.get(conn)


def _database(place: Any) -> Database:
    return Database(
        place.config(retry_interval=timedelta(seconds=0.1), connect_timeout=timedelta(seconds=5))
    )


async def test_an_id_that_a_crash_gave_to_another_transaction_is_not_taken_for_its_own(
    durable: Server, place_on: Callable[[str], Any]
) -> None:
    """Nothing of the first had reached the disk, so that its id was given again."""
    place = place_on(durable.url)
    place.run("checkpoint")
    async with _database(place) as db:
        conn, xid, where = await _left_open(db)
        await asyncio.to_thread(durable.kill)
        await asyncio.to_thread(durable.start)
        await db._engine.release(conn)
        while place.run(
            f"select {xid} < pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ) != [(True,)]:
            place.run("select pg_current_xact_id()")
        assert place.run(f"select pg_xact_status('{xid}')") == [("committed",)]

        with pytest.raises(CommitUnknown, match="crash"):
            await resolve(db._engine, CommitLost(xid, where, OSError("lost")))


async def test_an_id_that_is_in_the_future_after_a_crash_was_never_committed(
    durable: Server, place_on: Callable[[str], Any]
) -> None:
    place = place_on(durable.url)
    place.run("checkpoint")
    async with _database(place) as db:
        await db.fetch_value("select 1")
        conn, _, where = await _left_open(db)
        xid = str(10**9)
        await asyncio.to_thread(durable.kill)
        await asyncio.to_thread(durable.start)
        await db._engine.release(conn)

        with pytest.raises(DatabaseUnavailable, match="was not committed"):
            await resolve(db._engine, CommitLost(xid, where, OSError("lost")))


async def test_after_a_restart_in_good_order_an_id_means_what_it_meant(
    durable: Server, place_on: Callable[[str], Any]
) -> None:
    place = place_on(durable.url)
    async with _database(place) as db:
        conn, xid, where = await _left_open(db)
        await conn.execute("commit")
        await db._engine.release(conn)
        await asyncio.to_thread(durable.restart)

        await resolve(db._engine, CommitLost(xid, where, OSError("lost")))
