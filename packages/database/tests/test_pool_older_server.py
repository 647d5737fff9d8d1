"""A server that does not report `search_path` by itself: every tenth return asks for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from mtenant_database.pool import Pool
from mtenant_devstack.account import server_account

pytestmark = pytest.mark.anyio

Conn: TypeAlias = AsyncConnection[Any]

# Debian's place; others may put one on the PATH.
_PLACES = [f"/usr/lib/postgresql/{release}/bin" for release in (17, 16, 15)]


@pytest.fixture(scope="module")
def old_dsn() -> Iterator[str]:
    """The URL, for an ordinary role, of a PostgreSQL below 18."""
    programs = next((Path(place) for place in _PLACES if Path(place, "postgres").exists()), None)
    if programs is None:
        pytest.skip("there is no PostgreSQL below 18 on this machine")
    account = server_account()
    who: dict[str, Any] = {"user": account.uid, "group": account.gid} if account else {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="mtenant-old-"))
    if account:
        os.chown(home, *account.ids)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                home / "data",
                "-A",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=home,
            extra_groups=[] if account else None,
            **who,
        )
        server = subprocess.Popen(
            [
                programs / "postgres",
                *("-D", home / "data"),
                *(f"--port={port}", "--listen_addresses=127.0.0.1", "--unix_socket_directories="),
                "--fsync=off",
            ],
            stderr=subprocess.DEVNULL,
            cwd=home,
            extra_groups=[] if account else None,
            **who,
        )
        try:
            _wait_for(url)
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("create role app login")
            yield url.replace("postgres@", "app@")
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(home)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)
        else:
            return


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
