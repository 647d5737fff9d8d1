# ruff: noqa: PT017 -- calls that may or may not fail; a bounded wait for many small things
"""A server that is killed under load: nothing wrong is answered, and nothing has to be restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

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
