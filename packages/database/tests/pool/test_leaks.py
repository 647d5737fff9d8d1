"""Loans that last too long and paths that stray are found, and closed connections are counted by reason."""

from __future__ import annotations

import inspect
import logging
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection

from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio
Conn: TypeAlias = AsyncConnection[Any]


async def borrow_and_forget(pool: Pool[Conn]) -> Conn:
    return await pool.getconn()


async def test_a_loan_that_lasts_too_long_is_logged_with_the_borrower_and_so_is_its_end(
    dsn: str, caplog: pytest.LogCaptureFixture, eventually: Any, opened: Any
) -> None:
    caplog.set_level(logging.WARNING, "mtenant_database.pool")
    async with opened(Pool, dsn, leak_threshold=0.05) as pool:
        async with pool.connection():
            pass
        conn = await borrow_and_forget(pool)
        await eventually(lambda: caplog.records)
        line = inspect.getsourcelines(borrow_and_forget)[1] + 1
        warned = caplog.records[0].getMessage()
        assert "may be lost" in warned
        assert f'test_leaks.py", line {line}, in borrow_and_forget' in warned
        assert "psycopg_pool" not in warned
        await pool.putconn(conn)
        assert "came back after" in caplog.records[1].getMessage()
        assert "in borrow_and_forget" in caplog.records[1].getMessage()
    assert len(caplog.records) == 2


async def test_a_connection_with_another_path_is_closed_and_named(
    dsn: str, caplog: pytest.LogCaptureFixture, opened: Any
) -> None:
    async with opened(Pool, dsn) as pool:
        conn = await borrow_and_forget(pool)
        await conn.execute("set search_path to tenant_other")
        await pool.putconn(conn)
        assert conn.closed
        stats = pool.get_stats()
        assert (stats["closed_leak"], stats.get("closed_broken")) == (1, None)
        (record,) = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
        assert "search_path tenant_other instead of" in record.getMessage()
        assert "in borrow_and_forget" in record.getMessage()
        async with pool.connection() as conn:
            await conn.execute("select 1")


async def test_a_path_of_a_transaction_is_no_leak(dsn: str, opened: Any) -> None:
    async with opened(Pool, dsn) as pool:
        for end in ("commit", "rollback", None):
            conn = await pool.getconn()
            await conn.execute("begin")
            await conn.execute("set local search_path to tenant_other")
            if end:
                await conn.execute(end)
            await pool.putconn(conn)
            assert not conn.closed
        assert "closed_leak" not in pool.get_stats()


async def test_a_path_that_was_configured_is_no_leak(dsn: str, opened: Any) -> None:
    async def configure(conn: Conn) -> None:
        await conn.execute("set search_path to pg_catalog, pg_temp")

    async with opened(Pool, dsn, configure=configure) as pool:
        for _ in range(3):
            async with pool.connection() as conn:
                await conn.execute("select 1")
        assert "closed_leak" not in pool.get_stats()


async def test_a_path_is_checked_after_the_reset_hook(
    dsn: str, eventually: Any, opened: Any
) -> None:
    async def reset(conn: Conn) -> None:
        await conn.execute("reset search_path")

    async with opened(Pool, dsn, reset=reset) as pool:
        async with pool.connection() as conn:
            await conn.execute("set search_path to tenant_other")
        await eventually(lambda: pool.get_stats()["pool_available"] == 1)
        assert not conn.closed


async def test_closed_connections_are_counted_by_reason(
    dsn: str, place: Any, eventually: Any, opened: Any, terminate: Any
) -> None:
    async with opened(Pool, dsn, min_size=1, max_size=2, max_idle=0.2) as pool:
        conns = [await pool.getconn(), await pool.getconn()]
        for conn in conns:
            await pool.putconn(conn)
        await eventually(lambda: pool.get_stats().get("closed_idle") == 1)
        await pool.drain()
        assert pool.get_stats()["closed_drain"] == 1
        conn = await pool.getconn()
        await terminate(place, conn)
        with pytest.raises(psycopg.OperationalError):
            await conn.execute("select 1")
        await pool.putconn(conn)
        assert pool.get_stats()["closed_broken"] == 1
        conn = await pool.getconn()
        conn.pgconn.send_query(b"select 1")
        await pool.putconn(conn)
        assert pool.get_stats()["closed_broken"] == 2
        conn = await pool.getconn()
        conn._expire_at = 0.0
        await pool.putconn(conn)
        assert pool.get_stats()["closed_lifetime"] == 1
        async with pool.connection() as conn:
            await conn.execute("set search_path to tenant_other")
        assert pool.get_stats()["closed_leak"] == 1
        before = pool.get_stats()
    closed = {key: count for key, count in pool.get_stats().items() if key.startswith("closed_")}
    assert closed == {key: before[key] for key in closed}, "closing the pool is no reason"


async def test_used_connections_are_counted(dsn: str, opened: Any) -> None:
    async with opened(Pool, dsn, min_size=2) as pool:
        conns = [await pool.getconn(), await pool.getconn()]
        assert pool.get_stats()["pool_used"] == 2
        await pool.putconn(conns[0])
        await conns[1].close()
        await pool.putconn(conns[1])
        assert pool.get_stats()["pool_used"] == 0
