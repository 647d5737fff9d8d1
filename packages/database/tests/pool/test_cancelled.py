"""Cancellation at the worst moment loses no connection; nor does doing a thing twice at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from mtenant_database.pool import Pool
from mtenant_database.waiter import Waiter

pytestmark = pytest.mark.anyio
Conn: TypeAlias = AsyncConnection[Any]
PoolType: TypeAlias = type[AsyncConnectionPool[Any]]
both = pytest.mark.parametrize("cls", [AsyncConnectionPool, Pool])
only_ours = pytest.mark.parametrize(
    "cls",
    [
        pytest.param(
            AsyncConnectionPool,
            # Should psycopg_pool mend it, this fails, and tells us that our own way may go.
            marks=pytest.mark.xfail(
                strict=True, raises=PoolTimeout, reason="psycopg_pool 3.3 loses the connection"
            ),
        ),
        Pool,
    ],
)


@only_ours
async def test_a_return_that_is_cancelled_at_the_lock_returns_the_connection(
    cls: PoolType, dsn: str, eventually: Any, opened: Any, turns: Any
) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        async with pool._lock:
            returning = asyncio.create_task(pool.putconn(conn))
            await turns(3)
            returning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await returning
        del conn, returning
        async with pool.connection(timeout=1) as conn:
            await conn.execute("select 1")


@only_ours
async def test_a_return_that_is_cancelled_while_it_serves_a_waiter_serves_it(
    cls: PoolType, dsn: str, opened: Any, turns: Any
) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        # The waiter has taken its place and the return comes in the same turn of the loop.
        waiting = asyncio.create_task(pool.getconn(timeout=1))
        returning = asyncio.create_task(pool.putconn(conn))
        del conn
        await turns(1)
        returning.cancel()
        await asyncio.gather(returning, return_exceptions=True)
        del returning
        await pool.putconn(await waiting)


@both
async def test_a_waiter_that_is_cancelled_once_it_was_served_gives_it_back(
    cls: PoolType, dsn: str, eventually: Any, opened: Any, turns: Any
) -> None:
    async with opened(cls, dsn) as pool:
        for pause in range(8):
            conn = await pool.getconn(timeout=5)
            waiting = asyncio.create_task(pool.getconn(timeout=5))
            await turns(4)
            await pool.putconn(conn)
            await turns(pause)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await pool.putconn(await waiting)
            await eventually(lambda: pool.get_stats()["pool_available"] == 1)


async def test_a_cancelled_rollback_goes_on(
    dsn: str, eventually: Any, opened: Any, turns: Any
) -> None:
    async with opened(Pool, dsn) as pool:
        conn = await pool.getconn()
        first = conn.info.backend_pid
        await conn.execute("begin")
        returning = asyncio.create_task(pool.putconn(conn))
        await turns(1)
        returning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await returning
        async with pool.connection() as conn:
            assert conn.info.backend_pid == first
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE


async def test_returning_twice_at_once_returns_once(dsn: str, opened: Any) -> None:
    async with opened(Pool, dsn) as pool:
        for reset in (None, Pool.check_connection):
            pool._reset = reset
            conn = await pool.getconn()
            await conn.execute("begin")
            await asyncio.gather(pool.putconn(conn), pool.putconn(conn))
            one = await pool.getconn()
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0.01)
            await pool.putconn(one)


async def test_those_who_gave_up_do_not_count_as_waiting(dsn: str, opened: Any) -> None:
    async with opened(Pool, dsn, max_waiting=1) as pool, pool.connection():
        for _ in range(3):
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0.001)
        assert pool.get_stats()["requests_waiting"] == 0


async def test_a_cancelled_close_closes(dsn: str, eventually: Any, turns: Any) -> None:
    pool = Pool(dsn, min_size=2, open=False)
    await pool.open(wait=True)
    conns = list(pool._pool)
    out = [await pool.getconn(), await pool.getconn()]
    waiting = asyncio.create_task(pool.getconn(timeout=20))
    await turns(2)
    closing = asyncio.create_task(pool.close())
    await turns(1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(PoolClosed):
        await waiting
    for conn in out:
        await pool.putconn(conn)
    await eventually(lambda: all(conn.closed for conn in conns))


async def test_a_cancelled_check_keeps_every_connection(
    dsn: str, eventually: Any, opened: Any, turns: Any
) -> None:
    async with opened(Pool, dsn, min_size=3) as pool:
        for pause in range(6):
            checking = asyncio.create_task(pool.check())
            await turns(pause)
            checking.cancel()
            with suppress(asyncio.CancelledError):
                await checking
            await eventually(lambda: pool.get_stats()["pool_available"] == 3)


async def test_checking_replaces_the_old_ones(dsn: str, eventually: Any, opened: Any) -> None:
    async with opened(Pool, dsn, min_size=2) as pool:
        old = pool._pool[0]
        old._expire_at = 0.0
        await pool.check()
        assert old.closed
        assert pool.get_stats()["closed_lifetime"] == 1
        await eventually(lambda: pool.get_stats()["pool_available"] == 2)


async def test_a_waiter_is_served_once() -> None:
    waiter: Waiter[Conn] = Waiter()
    conn = AsyncConnection.__new__(AsyncConnection)
    assert await waiter.set(conn)
    assert not await waiter.set(conn)
    assert not await waiter.fail(PoolClosed("closed"))
    assert await waiter.wait(0) is conn


async def test_a_pool_that_was_closed_while_it_opened_says_so(dsn: str, turns: Any) -> None:
    url = asyncio.get_running_loop().create_future()
    pool = Pool(lambda: asyncio.shield(url), min_size=1, open=False, max_retries=0)
    opening = asyncio.create_task(pool.open())
    await turns(2)
    await AsyncConnectionPool.open(pool)
    await pool.close()
    url.set_result(dsn)
    with pytest.raises(PoolClosed):
        await opening


async def test_a_cancelled_wait_may_be_repeated(dsn: str, turns: Any) -> None:
    async with Pool(dsn, min_size=1, open=False) as pool:
        waiting = asyncio.create_task(pool.wait())
        await turns(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pool.wait()


async def test_closing_waits_for_a_rollback_that_nobody_waits_for(
    dsn: str, opened: Any, turns: Any
) -> None:
    async with opened(Pool, dsn) as pool:
        conn = await pool.getconn()
        await conn.execute("begin")
        returning = asyncio.create_task(pool.putconn(conn))
        await turns(1)
        returning.cancel()
        await asyncio.gather(returning, return_exceptions=True)
        await pool.close()
        assert conn.closed
        assert not pool._kept
