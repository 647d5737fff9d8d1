"""Servers run on uvloop, which tells of a lost connection in another way than asyncio's own loop."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import pytest
import uvloop

from mtenant_database import Database, DatabaseUnavailable

pytestmark = pytest.mark.anyio
DEADLINE = 30


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


async def pid(handle: Any) -> int:
    found: int = await handle.fetch_value("select pg_backend_pid()")
    return found


async def test_a_connection_that_the_server_ends_while_it_is_idle_is_an_error_or_replaced(
    place: Any,
) -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    handle_of = place.fresh()
    async with (
        asyncio.timeout(DEADLINE),
        Database(place.config(max_idle_conns=1, max_open_conns=1)) as db,
    ):
        handle = db.tenant(handle_of)
        for _ in range(10):
            place.run(f"select pg_terminate_backend({await pid(handle)})")
            try:
                await handle.fetch_value("select 1")
            except DatabaseUnavailable:
                assert await handle.fetch_value("select 1") == 1


async def test_one_that_it_ends_in_a_statement_is_an_error(place: Any) -> None:
    tenant = place.fresh()
    async with (
        asyncio.timeout(DEADLINE),
        Database(place.config(max_idle_conns=1, max_open_conns=1)) as db,
    ):
        handle = db.tenant(tenant)
        for _ in range(5):
            server = await pid(handle)
            asked = asyncio.ensure_future(handle.fetch_value("select pg_sleep(60)"))
            await asyncio.sleep(0)
            killed = asyncio.to_thread(place.run, f"select pg_terminate_backend({server})")
            await asyncio.gather(killed, asyncio.wait([asked]))
            assert isinstance(asked.exception(), DatabaseUnavailable)


async def test_one_whose_user_is_cancelled_is_used_again_and_nothing_stays_open(place: Any) -> None:
    tenant = place.fresh()
    before = descriptors()
    async with (
        asyncio.timeout(DEADLINE),
        Database(place.config(max_idle_conns=1, max_open_conns=1)) as db,
    ):
        handle = db.tenant(tenant)
        for steps in range(10):
            asked = asyncio.ensure_future(handle.fetch_value("select pg_sleep(60)"))
            for _ in range(steps):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
            assert await handle.fetch_value("select 1") == 1

    assert descriptors() <= before


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
