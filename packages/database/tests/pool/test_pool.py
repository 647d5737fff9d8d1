"""What psycopg's pool promises, on both classes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio
Conn: TypeAlias = AsyncConnection[Any]
PoolType: TypeAlias = type[AsyncConnectionPool[Any]]
both = pytest.mark.parametrize("cls", [AsyncConnectionPool, Pool])


def test_ours_takes_every_argument_of_psycopgs_with_the_same_default() -> None:
    for method in ("__init__", "open", "close", "getconn", "putconn", "wait", "resize", "check"):
        theirs = inspect.signature(getattr(AsyncConnectionPool, method)).parameters
        ours = inspect.signature(getattr(Pool, method)).parameters
        for name, parameter in theirs.items():
            assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


@both
async def test_a_connection_is_lent_and_taken_back(cls: PoolType, dsn: str, opened: Any) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection() as conn:
            first = conn.info.backend_pid
            assert await (await conn.execute("select 1")).fetchone() == (1,)
        async with pool.connection() as conn:
            assert conn.info.backend_pid == first


@both
async def test_those_who_wait_are_served_in_their_order(
    cls: PoolType, dsn: str, opened: Any, turns: Any
) -> None:
    served: list[int] = []

    async def borrow(number: int) -> None:
        async with pool.connection():
            served.append(number)
            await turns(3)

    async with opened(cls, dsn) as pool:
        await asyncio.gather(*(borrow(number) for number in range(20)))
    assert served == list(range(20))


@both
async def test_a_request_that_is_not_served_in_time_fails_and_takes_nothing(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection():
            with pytest.raises(PoolTimeout, match=r"after 0\.01 sec"):
                await pool.getconn(timeout=0.01)
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0)
        async with pool.connection(timeout=10):
            pass
        assert pool.get_stats()["requests_errors"] == 1


@both
async def test_no_more_than_max_waiting_requests_wait(
    cls: PoolType, dsn: str, opened: Any, turns: Any
) -> None:
    async with opened(cls, dsn, max_waiting=1) as pool:
        conn = await pool.getconn()
        waiting = asyncio.create_task(pool.getconn())
        await turns(2)
        assert pool.get_stats()["requests_waiting"] == 1
        with pytest.raises(TooManyRequests):
            await pool.getconn()
        await pool.putconn(conn)
        await pool.putconn(await waiting)


@both
async def test_a_closed_pool_refuses_all(cls: PoolType, dsn: str, turns: Any) -> None:
    pool = cls(dsn, min_size=1, open=False)
    with pytest.raises(PoolClosed, match="not open yet"):
        await pool.getconn()
    await pool.open(wait=True)
    conn = await pool.getconn()
    waiting = asyncio.create_task(pool.getconn())
    await turns(2)
    await pool.close()
    with pytest.raises(PoolClosed):
        await waiting
    with pytest.raises(PoolClosed, match="already closed"):
        await pool.getconn()
    with pytest.raises(PoolClosed):
        await pool.open()
    await pool.putconn(conn)
    assert conn.closed


@both
async def test_an_open_transaction_is_rolled_back(cls: PoolType, dsn: str, opened: Any) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        first = conn.info.backend_pid
        await conn.execute("begin")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            await conn.execute("select nothing")
        await pool.putconn(conn)
        async with pool.connection() as conn:
            assert conn.info.backend_pid == first
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE


@both
async def test_a_connection_in_the_middle_of_a_statement_is_replaced(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        first = conn.info.backend_pid
        conn.pgconn.send_query(b"select 1")
        await pool.putconn(conn)
        assert conn.closed
        async with pool.connection() as conn:
            assert conn.info.backend_pid != first


@both
async def test_a_connection_that_comes_back_closed_is_replaced(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection() as conn:
            await conn.close()
        async with pool.connection() as conn:
            await conn.execute("select 1")
        assert pool.get_stats()["returns_bad"] == 1


@both
async def test_a_connection_of_somebody_else_is_refused(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn) as pool, opened(cls, dsn) as other:
        conn = await pool.getconn()
        with pytest.raises(ValueError, match="it comes from pool"):
            await other.putconn(conn)
        await pool.putconn(conn)
        with pytest.raises(ValueError, match="doesn't come from any pool"):
            await pool.putconn(conn)


@both
async def test_the_pool_grows_when_asked_and_shrinks_when_unused(
    cls: PoolType, dsn: str, eventually: Any, opened: Any
) -> None:
    async with opened(cls, dsn, min_size=1, max_size=3, max_idle=0.2) as pool:
        conns = [await pool.getconn() for _ in range(3)]
        assert pool.get_stats()["pool_size"] == 3
        for conn in conns:
            await pool.putconn(conn)
        await eventually(lambda: pool.get_stats()["pool_size"] == 1)


@both
async def test_a_pool_is_resized(cls: PoolType, dsn: str, eventually: Any, opened: Any) -> None:
    async with opened(cls, dsn) as pool:
        await pool.resize(3, 4)
        assert (pool.min_size, pool.max_size) == (3, 4)
        await eventually(lambda: pool.get_stats()["pool_available"] == 3)


@both
async def test_a_drained_pool_has_other_connections(cls: PoolType, dsn: str, opened: Any) -> None:
    async with opened(cls, dsn, min_size=2) as pool:
        out = await pool.getconn()
        old = {out.info.backend_pid} | {conn.info.backend_pid for conn in pool._pool}
        await pool.drain()
        await pool.putconn(out)
        assert out.closed
        conns = [await pool.getconn() for _ in range(2)]
        assert not old & {conn.info.backend_pid for conn in conns}
        for conn in conns:
            await pool.putconn(conn)


@both
async def test_checking_replaces_the_broken_ones(
    cls: PoolType, dsn: str, place: Any, opened: Any, terminate: Any
) -> None:
    async with opened(cls, dsn, min_size=2) as pool:
        dead, alive = pool._pool
        await terminate(place, dead)
        await pool.check()
        conns = [await pool.getconn() for _ in range(2)]
        assert alive.info.backend_pid in {conn.info.backend_pid for conn in conns}
        for conn in conns:
            await conn.execute("select 1")
            await pool.putconn(conn)


@both
async def test_an_old_connection_is_replaced(
    cls: PoolType, dsn: str, eventually: Any, opened: Any
) -> None:
    async with opened(cls, dsn, max_lifetime=0.2) as pool:
        conn = await pool.getconn()
        await eventually(lambda: conn._expire_at < monotonic())
        await pool.putconn(conn)
        assert conn.closed
        async with pool.connection() as conn:
            await conn.execute("select 1")


@both
async def test_hooks_are_called(cls: PoolType, dsn: str, eventually: Any, opened: Any) -> None:
    calls: list[str] = []

    def note(what: str) -> Callable[[Conn], Coroutine[Any, Any, None]]:
        async def called(conn: Conn) -> None:
            calls.append(what)

        return called

    hooks = {what: note(what) for what in ("configure", "check", "reset")}
    async with opened(cls, dsn, **hooks) as pool:
        for _ in range(2):
            async with pool.connection():
                pass
            await eventually(lambda: pool.get_stats()["pool_available"] == 1)
    assert calls == ["configure", *["check", "reset"] * 2]


@both
async def test_a_closed_connection_goes_back_where_that_is_asked_for(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn, close_returns=True) as pool:
        conn = await pool.getconn()
        await conn.close()
        assert not conn.closed
        assert pool.get_stats()["pool_available"] == 1


@both
async def test_connection_commits_and_rolls_back(cls: PoolType, dsn: str, opened: Any) -> None:
    async with opened(cls, dsn, kwargs={"autocommit": False}) as pool:
        with suppress(ZeroDivisionError):
            async with pool.connection() as conn:
                await conn.execute("select 1")
                raise ZeroDivisionError
        async with pool.connection() as conn:
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE
            await conn.execute("select 1")
        assert conn.pgconn.transaction_status == TransactionStatus.IDLE


@both
async def test_statistics_have_psycopgs_keys_and_popping_them_resets_them(
    cls: PoolType, dsn: str, opened: Any
) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection():
            pass
        stats = pool.pop_stats()
        assert stats["pool_min"] == stats["pool_max"] == stats["pool_size"] == 1
        assert stats["requests_num"] == 1
        assert stats["connections_num"] == 1
        assert "requests_num" not in pool.get_stats()


@both
async def test_an_unused_pool_is_collected(
    cls: PoolType, dsn: str, opened: Any, turns: Any
) -> None:
    async with opened(cls, dsn) as pool, pool.connection():
        pass
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    await turns(2)
    gc.collect()
    assert gone() is None
