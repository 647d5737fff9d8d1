"""Opening tries again, and says why it fails; so does connecting anew."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from mtenant_database.pool import Pool

pytestmark = pytest.mark.anyio
Conn: TypeAlias = AsyncConnection[Any]


async def test_opening_tries_again_and_logs_each_attempt(
    dsn: str, dead_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    urls = iter([dead_url, dead_url])
    pool = Pool(lambda: next(urls, dsn), min_size=2, open=False, max_retries=5, retry_interval=0.01)
    with caplog.at_level(logging.WARNING, "mtenant_database.pool"):
        await pool.open()
    async with pool.connection(timeout=0.01) as conn:  # there is one already
        await conn.execute("select 1")
    await pool.wait()
    assert pool.get_stats()["pool_size"] == 2
    await pool.close()
    said = [record.getMessage() for record in caplog.records]
    assert [line[:17] for line in said] == ["attempt 1 of 6 to", "attempt 2 of 6 to"]
    assert all("refused" in line for line in said)


async def test_opening_gives_up_after_max_retries_and_may_be_tried_again(
    dsn: str, dead_url: str
) -> None:
    url = [dead_url]
    pool = Pool(
        lambda: url[0], min_size=0, max_size=2, open=False, max_retries=2, retry_interval=0.01
    )
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await pool.open()
    assert pool.get_stats()["connections_num"] == 3
    assert pool.closed
    url[0] = dsn
    async with pool:
        assert pool.get_stats()["pool_available"] == 1
        conns = [await pool.getconn(), await pool.getconn()]
        for conn in conns:
            await pool.putconn(conn)


async def test_opening_with_wrong_settings_is_not_tried_again() -> None:
    pool = Pool("dbname=x nonsense", min_size=1, open=False, max_retries=5)
    with pytest.raises(psycopg.ProgrammingError):
        await pool.open()
    assert pool.get_stats()["connections_num"] == 1


async def test_opening_can_be_cancelled(dead_url: str, eventually: Any) -> None:
    pool = Pool(dead_url, min_size=1, open=False, max_retries=1000)
    opening = asyncio.create_task(pool.open())
    await eventually(lambda: pool.get_stats().get("connections_errors"))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert pool.closed


async def test_opening_twice_at_once_opens_once(dsn: str) -> None:
    pool = Pool(dsn, min_size=2, open=False, max_retries=0)
    await asyncio.gather(pool.open(), pool.open(wait=True))
    await pool.open()
    assert pool.get_stats()["pool_size"] == 2
    conns = [await pool.getconn() for _ in range(2)]
    with pytest.raises(PoolTimeout):
        await pool.getconn(timeout=0.01)
    for conn in conns:
        await pool.putconn(conn)
    await pool.close()


async def test_a_timeout_says_why_connecting_fails(dead_url: str, eventually: Any) -> None:
    async with Pool(dead_url, min_size=1, open=False) as pool:
        await eventually(lambda: pool.last_failure)
        with pytest.raises(PoolTimeout, match=r"after 0\.01 sec; the last attempt .*refused"):
            await pool.getconn(timeout=0.01)


async def test_attempts_to_reconnect_are_never_further_apart_than_the_interval(
    *, dsn: str, dead_url: str, place: Any, eventually: Any, opened: Any, terminate: Any
) -> None:
    url = [dsn]
    async with opened(Pool, lambda: url[0], retry_interval=0.05, check_after=0.0) as pool:
        url[0] = dead_url
        await terminate(place, pool._pool[0])
        with pytest.raises(PoolTimeout):
            await pool.getconn(timeout=0.5)
        # psycopg's waits would be 1, 2 and 4 s.
        assert pool.get_stats()["connections_errors"] >= 3
        url[0] = dsn
        async with pool.connection(timeout=10) as conn:
            await conn.execute("select 1")
