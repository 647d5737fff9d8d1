"""What is lent is alive: an idle connection is asked first, and an answer is not waited for without end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from mtenant_database import health
from mtenant_database import pool as pool_module
from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio
Conn: TypeAlias = AsyncConnection[Any]
PoolType: TypeAlias = type[AsyncConnectionPool[Any]]


async def test_an_idle_connection_that_died_is_never_lent(
    dsn: str, place: Any, opened: Any, terminate: Any
) -> None:
    async with opened(Pool, dsn, min_size=3, check_after=0.0) as pool:
        dead = {conn.info.backend_pid for conn in pool._pool}
        for conn in list(pool._pool):
            await terminate(place, conn)
        begun = monotonic()
        async with pool.connection() as conn:
            assert conn.info.backend_pid not in dead
            await conn.execute("select 1")
        # psycopg's own check would wait longer before each further connection that it finds dead.
        assert monotonic() - begun < 5
        assert pool.get_stats()["closed_broken"] == 3


async def test_a_connection_that_was_being_made_when_the_pool_drained_is_lent_once_at_most(
    dsn: str, opened: Any
) -> None:
    ready, begun = asyncio.Event(), asyncio.Event()
    ready.set()

    async def configure(conn: Conn) -> None:
        begun.set()
        await ready.wait()

    async with opened(Pool, dsn, min_size=1, max_size=2, configure=configure) as pool:
        first = await pool.getconn()
        ready.clear()
        begun.clear()
        second = asyncio.create_task(pool.getconn())
        await asyncio.wait_for(begun.wait(), 10)
        await pool.drain()
        ready.set()
        late = await asyncio.wait_for(second, 10)
        await pool.putconn(late)
        assert late.closed
        await pool.putconn(first)
        assert pool.get_stats()["closed_drain"] == 2


async def test_a_connection_that_was_just_used_is_not_asked(
    dsn: str, place: Any, opened: Any
) -> None:
    asked = []

    class Asking(Pool[Conn]):
        @staticmethod
        async def check_connection(conn: Conn) -> None:
            asked.append(conn)

    for check_after, expected in ((3600.0, 0), (None, 0), (0.0, 3)):
        asked.clear()
        async with opened(Asking, dsn, check_after=check_after) as pool:
            for _ in range(3):
                async with pool.connection():
                    pass
        assert len(asked) == expected


async def test_a_server_that_is_silent_does_not_hold_up_the_borrower(
    dsn: str, silent_proxy: Any, monkeypatch: pytest.MonkeyPatch, opened: Any
) -> None:
    monkeypatch.setattr(pool_module, "CHECK_TIMEOUT", 0.1)
    async with silent_proxy(dsn) as proxy, opened(Pool, proxy.url, check_after=0.0) as pool:
        conn = pool._pool[0]
        proxy.silence()
        waiting = asyncio.create_task(pool.getconn(timeout=20))
        await asyncio.wait_for(proxy.next_client.wait(), 15)
        fresh = await waiting
        assert fresh is not conn
        assert conn.closed
        await pool.putconn(fresh)


async def test_a_borrower_that_is_cancelled_during_the_check_loses_nothing(
    dsn: str, eventually: Any, opened: Any, turns: Any
) -> None:
    async with opened(Pool, dsn, check_after=0.0) as pool:
        for pause in range(12):
            borrowing = asyncio.create_task(pool.getconn())
            await turns(pause)
            borrowing.cancel()
            with suppress(asyncio.CancelledError):
                await pool.putconn(await borrowing)
            await eventually(lambda: pool.get_stats()["pool_available"] == 1)


async def test_a_health_check_of_a_silent_server_ends_in_time(
    dsn: str, silent_proxy: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any, opened: Any
) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.2)
    async with silent_proxy(dsn) as proxy, opened(Pool, proxy.url) as pool:
        conn = pool._pool[0]
        proxy.silence()
        status = await health.health_check(pool)
        assert not status.healthy
        assert status.response_time.total_seconds() < 5
        await eventually(lambda: conn.closed and pool.get_stats()["pool_available"] == 1)
        assert await health.is_healthy(pool)
