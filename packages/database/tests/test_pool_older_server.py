"""A server that does not report `search_path` by itself: every tenth return asks for it."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio

Conn: TypeAlias = AsyncConnection[Any]


@pytest.fixture(scope="module")
def old_dsn(older_postgres_dsn: str) -> str:
    """The URL, for an ordinary role, of a PostgreSQL below 18."""
    with psycopg.connect(older_postgres_dsn, autocommit=True) as conn:
        conn.execute("create role app login")
    return older_postgres_dsn.replace("postgres@", "app@")


@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_leaked_path_is_found_at_the_tenth_return(old_dsn: str, autocommit: bool) -> None:
    kwargs = {"autocommit": autocommit, "row_factory": dict_row}
    async with Pool(old_dsn, min_size=1, open=False, kwargs=kwargs) as pool:
        await pool.wait()
        async with pool.connection() as leaking:
            await leaking.execute("set search_path to tenant_other")
        for _ in range(8):
            async with pool.connection() as conn:
                assert conn is leaking
        async with pool.connection():
            pass
        assert leaking.closed
        assert pool.get_stats()["closed_leak"] == 1
        async with pool.connection() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute("select current_setting('search_path') as path")
            assert await cursor.fetchone() == {"path": '"$user", public'}


async def test_a_connection_that_strayed_nowhere_is_kept(old_dsn: str) -> None:
    async with Pool(old_dsn, min_size=1, open=False, kwargs={"autocommit": True}) as pool:
        await pool.wait()
        pids = set()
        for _ in range(31):
            async with pool.connection() as conn:
                pids.add(conn.info.backend_pid)
        assert len(pids) == 1


async def test_a_connection_that_dies_before_it_is_asked_is_replaced(
    old_dsn: str, eventually: Any
) -> None:
    async with Pool(old_dsn, min_size=1, open=False, kwargs={"autocommit": True}) as pool:
        await pool.wait()
        for _ in range(9):
            async with pool.connection() as conn:
                pass
        conn = await pool.getconn()
        with psycopg.connect(old_dsn, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", [conn.info.backend_pid])
        await pool.putconn(conn)
        assert conn.closed
        await eventually(lambda: pool.get_stats()["pool_available"] == 1)
        assert pool.get_stats()["closed_broken"] == 1
