"""Cancellation at any await, killed connections, a killed server: the pool stays whole."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Literal, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolTimeout

from mtenant_database.pool import Pool
from mtenant_devstack import Stack

Conn: TypeAlias = AsyncConnection[Any]
Use: TypeAlias = Literal[
    "nothing", "query", "slow", "open", "failed", "closed", "killed", "strayed"
]

SIZE = 3
USES: tuple[Use, ...] = (
    "nothing",
    "query",
    "slow",
    "open",
    "failed",
    "closed",
    "killed",
    "strayed",
)


async def use(conn: Conn, how: Use) -> None:
    match how:
        case "query":
            await conn.execute("select 1")
        case "slow":
            await conn.execute("select pg_sleep(0.02)")
        case "open":
            await conn.execute("begin")
        case "failed":
            await conn.execute("begin; select 1/0")
        case "closed":
            await conn.close()
        case "killed":
            await conn.execute("select pg_terminate_backend(pg_backend_pid())")
        case "strayed":
            await conn.execute("set search_path to tenant_other")


async def in_a_block(pool: Pool[Conn], how: Use) -> None:
    async with pool.connection(timeout=20) as conn:
        await use(conn, how)


async def by_hand(pool: Pool[Conn], how: Use) -> None:
    conn = await pool.getconn(timeout=20)
    try:
        await use(conn, how)
    finally:
        await pool.putconn(conn)


async def borrower(pool: Pool[Conn], step: tuple[Any, Use, int, list[int]]) -> None:
    borrow, how, start, cancels = step
    for _ in range(start):
        await asyncio.sleep(0)
    task = asyncio.create_task(borrow(pool, how))
    for pause in cancels:
        for _ in range(pause):
            await asyncio.sleep(0)
        task.cancel()
    with suppress(asyncio.CancelledError, psycopg.Error):
        await task


def whole(pool: Pool[Conn]) -> bool:
    stats = pool.get_stats()
    return (
        stats["pool_used"] == 0
        and stats["requests_waiting"] == 0
        and stats["pool_available"] == stats["pool_size"] >= 2
        and not pool._growing
        and not pool._kept
    )


async def check(dsn: str, plan: list[tuple[Any, Use, int, list[int]]], check_after: float) -> None:
    async with Pool(
        dsn,
        open=False,
        min_size=2,
        max_size=SIZE,
        kwargs={"autocommit": True},
        check_after=check_after,
    ) as pool:
        await pool.wait()
        await asyncio.gather(*(borrower(pool, step) for step in plan))
        deadline = monotonic() + 20
        while not whole(pool):
            assert monotonic() < deadline, f"not whole again: {pool.get_stats()}"
            await asyncio.sleep(0.001)
        assert len(set(pool._pool)) == len(pool._pool), "one connection is in the pool twice"
        conns = [await pool.getconn(timeout=20) for _ in range(SIZE)]
        assert len({conn.info.backend_pid for conn in conns}) == SIZE
        for conn in conns:
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE
            cursor = await conn.execute("select current_setting('search_path')")
            assert await cursor.fetchone() == ('"$user", public',)
            await pool.putconn(conn)


plans = st.lists(
    st.tuples(
        st.sampled_from([in_a_block, by_hand]),
        st.sampled_from(USES),
        st.integers(0, 12),
        st.lists(st.integers(0, 40), max_size=2),
    ),
    min_size=1,
    max_size=12,
)
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(quiet, max_examples=40)
@given(plan=plans, check_after=st.sampled_from([0.0, 3600.0]))
def test_the_pool_is_whole_whatever_is_cancelled(
    place: Any, plan: list[tuple[Any, Use, int, list[int]]], check_after: float
) -> None:
    asyncio.run(check(place.app, plan, check_after))


@pytest.mark.slow
@settings(quiet, max_examples=1500)
@given(plan=plans, check_after=st.sampled_from([0.0, 3600.0]))
def test_the_pool_is_whole_whatever_is_cancelled_for_long(
    place: Any, plan: list[tuple[Any, Use, int, list[int]]], check_after: float
) -> None:
    asyncio.run(check(place.app, plan, check_after))


def test_ten_thousand_requests_at_once_are_answered(place: Any) -> None:
    async def ask(pool: Pool[Conn], number: int) -> int:
        async with pool.connection(timeout=60) as conn:
            row = await (await conn.execute("select %s::int", [number])).fetchone()
            return int(row[0]) if row else -1

    async def run() -> None:
        async with Pool(
            place.app, open=False, min_size=5, max_size=20, kwargs={"autocommit": True}
        ) as pool:
            answers = await asyncio.gather(*(ask(pool, number) for number in range(10_000)))
            assert answers == list(range(10_000))
            assert pool.get_stats()["pool_size"] <= 20

    asyncio.run(run())


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres"], mode="durable") as it:
        yield it


@pytest.fixture
def server(stack: Stack) -> Iterator[Any]:
    yield stack.postgres
    stack.postgres.start()


@pytest.fixture
def app_url(server: Any) -> str:
    """The server's URL for an ordinary role."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute("drop role if exists app")
        conn.execute("create role app login")
    return f"postgresql://app@127.0.0.1:{server.port}/postgres"


def test_a_program_that_starts_before_its_server_connects(
    server: Any, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mtenant_database.pool")
    server.kill()

    async def run() -> None:
        pool = Pool(app_url, open=False, min_size=2, max_retries=100, retry_interval=0.5)
        opening = asyncio.create_task(pool.open())
        starter = threading.Timer(3.0, server.start)
        starter.start()
        try:
            await asyncio.wait_for(opening, 60)
            async with pool.connection() as conn:
                await conn.execute("select 1")
        finally:
            await pool.close()
            await asyncio.to_thread(starter.join)
        errors = pool.get_stats()["connections_errors"]
        attempts = [line for line in caplog.messages if line.startswith("attempt ")]
        assert len(attempts) == errors > 1

    asyncio.run(run())


def test_the_pool_serves_again_after_the_server_was_killed(
    server: Any, app_url: str, eventually: Any
) -> None:
    answers: list[int] = []
    failures: list[psycopg.Error] = []

    async def ask(pool: Pool[Conn], stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                async with pool.connection(timeout=1) as conn:
                    row = await (await conn.execute("select %s::int", [number])).fetchone()
                assert row == (number,), "an answer to another question"
                answers.append(number)
            except psycopg.OperationalError as error:
                failures.append(error)

    async def run() -> None:
        async with Pool(
            app_url,
            open=False,
            min_size=4,
            max_size=4,
            kwargs={"autocommit": True},
            retry_interval=0.2,
        ) as pool:
            await pool.wait()
            stop = asyncio.Event()
            askers = [asyncio.create_task(ask(pool, stop)) for _ in range(8)]
            await eventually(lambda: len(answers) >= 100)
            await asyncio.to_thread(server.kill)
            await eventually(lambda: failures)
            await asyncio.to_thread(server.start)
            before = len(answers)
            await eventually(lambda: len(answers) >= before + 100)
            stop.set()
            await asyncio.gather(*askers)
            await eventually(lambda: pool.get_stats()["pool_available"] == 4)

    asyncio.run(run())


def test_a_pool_without_a_server_refuses_in_time_and_says_why(server: Any, app_url: str) -> None:
    async def run() -> None:
        async with Pool(app_url, open=False, min_size=1, retry_interval=0.1) as pool:
            await pool.wait()
            await asyncio.to_thread(server.kill)
            with pytest.raises(psycopg.OperationalError):
                async with pool.connection() as conn:
                    await conn.execute("select 1")
            with pytest.raises(PoolTimeout, match="refused"):
                await pool.getconn(timeout=1)

    asyncio.run(run())
