"""What psycopg's pool promises, on both classes, and what ours adds."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from mtenant_database import health
from mtenant_database import pool as pool_module
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


@pytest.fixture
def dsn(place: Any) -> str:
    return str(place.app)


@pytest.fixture
def dead_url(dsn: str) -> Iterator[str]:
    """A server that refuses: its port is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        yield urlsplit(dsn)._replace(netloc=f"nobody@127.0.0.1:{port}").geturl()


class SilentProxy:
    """A proxy before the server that can stop to speak to those who are connected."""

    def __init__(self, upstream: str) -> None:
        self._parts = urlsplit(upstream)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.next_client = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> SilentProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"{self._parts.username}@127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def silence(self) -> None:
        self.next_client.clear()
        for task in self._tasks:
            task.cancel()  # the sockets stay open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.next_client.set()
        upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers += [writer, upstream[1]]

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            self._tasks.add(asyncio.create_task(copy(source, sink)))


@pytest.fixture
def silent_proxy() -> type[SilentProxy]:
    return SilentProxy


@asynccontextmanager
async def opened(cls: PoolType, dsn: Any, **options: Any) -> AsyncIterator[Any]:
    usual: dict[str, Any] = {"min_size": 1, "kwargs": {"autocommit": True}}
    async with cls(dsn, open=False, **usual | options) as pool:
        await pool.wait()
        yield pool


def pid(conn: Conn) -> int:
    return conn.info.backend_pid


async def terminate(place: Any, conn: Conn) -> None:
    """Let the server close a connection, and wait until the client has been told."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_reader(conn.pgconn.socket, told.set)
    place.run(f"select pg_terminate_backend({pid(conn)})")
    await asyncio.wait_for(told.wait(), 10)
    loop.remove_reader(conn.pgconn.socket)


async def turns(number: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


# What psycopg's pool promises.


def test_ours_takes_every_argument_of_psycopgs_with_the_same_default() -> None:
    for method in ("__init__", "open", "close", "getconn", "putconn", "wait", "resize", "check"):
        theirs = inspect.signature(getattr(AsyncConnectionPool, method)).parameters
        ours = inspect.signature(getattr(Pool, method)).parameters
        for name, parameter in theirs.items():
            assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


@both
async def test_a_connection_is_lent_and_taken_back(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection() as conn:
            first = pid(conn)
            assert await (await conn.execute("select 1")).fetchone() == (1,)
        async with pool.connection() as conn:
            assert pid(conn) == first


@both
async def test_those_who_wait_are_served_in_their_order(cls: PoolType, dsn: str) -> None:
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
    cls: PoolType, dsn: str
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
async def test_no_more_than_max_waiting_requests_wait(cls: PoolType, dsn: str) -> None:
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
async def test_a_closed_pool_refuses_all(cls: PoolType, dsn: str) -> None:
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
async def test_an_open_transaction_is_rolled_back(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        first = pid(conn)
        await conn.execute("begin")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            await conn.execute("select nothing")
        await pool.putconn(conn)
        async with pool.connection() as conn:
            assert pid(conn) == first
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE


@both
async def test_a_connection_in_the_middle_of_a_statement_is_replaced(
    cls: PoolType, dsn: str
) -> None:
    async with opened(cls, dsn) as pool:
        conn = await pool.getconn()
        first = pid(conn)
        conn.pgconn.send_query(b"select 1")
        await pool.putconn(conn)
        assert conn.closed
        async with pool.connection() as conn:
            assert pid(conn) != first


@both
async def test_a_connection_that_comes_back_closed_is_replaced(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn) as pool:
        async with pool.connection() as conn:
            await conn.close()
        async with pool.connection() as conn:
            await conn.execute("select 1")
        assert pool.get_stats()["returns_bad"] == 1


@both
async def test_a_connection_of_somebody_else_is_refused(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn) as pool, opened(cls, dsn) as other:
        conn = await pool.getconn()
        with pytest.raises(ValueError, match="it comes from pool"):
            await other.putconn(conn)
        await pool.putconn(conn)
        with pytest.raises(ValueError, match="doesn't come from any pool"):
            await pool.putconn(conn)


@both
async def test_the_pool_grows_when_asked_and_shrinks_when_unused(
    cls: PoolType, dsn: str, eventually: Any
) -> None:
    async with opened(cls, dsn, min_size=1, max_size=3, max_idle=0.2) as pool:
        conns = [await pool.getconn() for _ in range(3)]
        assert pool.get_stats()["pool_size"] == 3
        for conn in conns:
            await pool.putconn(conn)
        await eventually(lambda: pool.get_stats()["pool_size"] == 1)


@both
async def test_a_pool_is_resized(cls: PoolType, dsn: str, eventually: Any) -> None:
    async with opened(cls, dsn) as pool:
        await pool.resize(3, 4)
        assert (pool.min_size, pool.max_size) == (3, 4)
        await eventually(lambda: pool.get_stats()["pool_available"] == 3)


@both
async def test_a_drained_pool_has_other_connections(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn, min_size=2) as pool:
        out = await pool.getconn()
        old = {pid(out)} | {pid(conn) for conn in pool._pool}
        await pool.drain()
        await pool.putconn(out)
        assert out.closed
        conns = [await pool.getconn() for _ in range(2)]
        assert not old & {pid(conn) for conn in conns}
        for conn in conns:
            await pool.putconn(conn)


@both
async def test_checking_replaces_the_broken_ones(cls: PoolType, dsn: str, place: Any) -> None:
    async with opened(cls, dsn, min_size=2) as pool:
        dead, alive = pool._pool
        await terminate(place, dead)
        await pool.check()
        conns = [await pool.getconn() for _ in range(2)]
        assert pid(alive) in {pid(conn) for conn in conns}
        for conn in conns:
            await conn.execute("select 1")
            await pool.putconn(conn)


@both
async def test_an_old_connection_is_replaced(cls: PoolType, dsn: str, eventually: Any) -> None:
    async with opened(cls, dsn, max_lifetime=0.2) as pool:
        conn = await pool.getconn()
        await eventually(lambda: conn._expire_at < monotonic())
        await pool.putconn(conn)
        assert conn.closed
        async with pool.connection() as conn:
            await conn.execute("select 1")


@both
async def test_hooks_are_called(cls: PoolType, dsn: str, eventually: Any) -> None:
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
    cls: PoolType, dsn: str
) -> None:
    async with opened(cls, dsn, close_returns=True) as pool:
        conn = await pool.getconn()
        await conn.close()
        assert not conn.closed
        assert pool.get_stats()["pool_available"] == 1


@both
async def test_connection_commits_and_rolls_back(cls: PoolType, dsn: str) -> None:
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
    cls: PoolType, dsn: str
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
async def test_an_unused_pool_is_collected(cls: PoolType, dsn: str) -> None:
    async with opened(cls, dsn) as pool, pool.connection():
        pass
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    await turns(2)
    gc.collect()
    assert gone() is None


# No cancellation loses anything.


@only_ours
async def test_a_return_that_is_cancelled_at_the_lock_returns_the_connection(
    cls: PoolType, dsn: str, eventually: Any
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
    cls: PoolType, dsn: str
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
    cls: PoolType, dsn: str, eventually: Any
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


async def test_a_cancelled_rollback_goes_on(dsn: str, eventually: Any) -> None:
    async with opened(Pool, dsn) as pool:
        conn = await pool.getconn()
        first = pid(conn)
        await conn.execute("begin")
        returning = asyncio.create_task(pool.putconn(conn))
        await turns(1)
        returning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await returning
        async with pool.connection() as conn:
            assert pid(conn) == first
            assert conn.pgconn.transaction_status == TransactionStatus.IDLE


async def test_returning_twice_at_once_returns_once(dsn: str) -> None:
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


async def test_those_who_gave_up_do_not_count_as_waiting(dsn: str) -> None:
    async with opened(Pool, dsn, max_waiting=1) as pool, pool.connection():
        for _ in range(3):
            with pytest.raises(PoolTimeout):
                await pool.getconn(timeout=0.001)
        assert pool.get_stats()["requests_waiting"] == 0


async def test_a_cancelled_close_closes(dsn: str, eventually: Any) -> None:
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


async def test_a_cancelled_check_keeps_every_connection(dsn: str, eventually: Any) -> None:
    async with opened(Pool, dsn, min_size=3) as pool:
        for pause in range(6):
            checking = asyncio.create_task(pool.check())
            await turns(pause)
            checking.cancel()
            with suppress(asyncio.CancelledError):
                await checking
            await eventually(lambda: pool.get_stats()["pool_available"] == 3)


async def test_checking_replaces_the_old_ones(dsn: str, eventually: Any) -> None:
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


async def test_a_pool_that_was_closed_while_it_opened_says_so(dsn: str) -> None:
    url = asyncio.get_running_loop().create_future()
    pool = Pool(lambda: asyncio.shield(url), min_size=1, open=False, max_retries=0)
    opening = asyncio.create_task(pool.open())
    await turns(2)
    await AsyncConnectionPool.open(pool)
    await pool.close()
    url.set_result(dsn)
    with pytest.raises(PoolClosed):
        await opening


async def test_a_cancelled_wait_may_be_repeated(dsn: str) -> None:
    async with Pool(dsn, min_size=1, open=False) as pool:
        waiting = asyncio.create_task(pool.wait())
        await turns(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pool.wait()


async def test_closing_waits_for_a_rollback_that_nobody_waits_for(dsn: str) -> None:
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


# Liveness.


async def test_an_idle_connection_that_died_is_never_lent(dsn: str, place: Any) -> None:
    async with opened(Pool, dsn, min_size=3, check_after=0.0) as pool:
        dead = {pid(conn) for conn in pool._pool}
        for conn in list(pool._pool):
            await terminate(place, conn)
        begun = monotonic()
        async with pool.connection() as conn:
            assert pid(conn) not in dead
            await conn.execute("select 1")
        # psycopg's own check would wait longer before each further connection that it finds dead.
        assert monotonic() - begun < 5
        assert pool.get_stats()["closed_broken"] == 3


async def test_a_connection_that_was_just_used_is_not_asked(dsn: str, place: Any) -> None:
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
    dsn: str, silent_proxy: Any, monkeypatch: pytest.MonkeyPatch
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
    dsn: str, eventually: Any
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
    dsn: str, silent_proxy: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
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


# Opening.


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
    dsn: str, dead_url: str, place: Any, eventually: Any
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


# Leaks.


async def borrow_and_forget(pool: Pool[Conn]) -> Conn:
    return await pool.getconn()


async def test_a_loan_that_lasts_too_long_is_logged_with_the_borrower_and_so_is_its_end(
    dsn: str, caplog: pytest.LogCaptureFixture, eventually: Any
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
        assert f'test_pool.py", line {line}, in borrow_and_forget' in warned
        assert "psycopg_pool" not in warned
        await pool.putconn(conn)
        assert "came back after" in caplog.records[1].getMessage()
        assert "in borrow_and_forget" in caplog.records[1].getMessage()
    assert len(caplog.records) == 2


async def test_a_connection_with_another_path_is_closed_and_named(
    dsn: str, caplog: pytest.LogCaptureFixture
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


async def test_a_path_of_a_transaction_is_no_leak(dsn: str) -> None:
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


async def test_a_path_that_was_configured_is_no_leak(dsn: str) -> None:
    async def configure(conn: Conn) -> None:
        await conn.execute("set search_path to pg_catalog, pg_temp")

    async with opened(Pool, dsn, configure=configure) as pool:
        for _ in range(3):
            async with pool.connection() as conn:
                await conn.execute("select 1")
        assert "closed_leak" not in pool.get_stats()


async def test_a_path_is_checked_after_the_reset_hook(dsn: str, eventually: Any) -> None:
    async def reset(conn: Conn) -> None:
        await conn.execute("reset search_path")

    async with opened(Pool, dsn, reset=reset) as pool:
        async with pool.connection() as conn:
            await conn.execute("set search_path to tenant_other")
        await eventually(lambda: pool.get_stats()["pool_available"] == 1)
        assert not conn.closed


# Why connections were closed.


async def test_closed_connections_are_counted_by_reason(
    dsn: str, place: Any, eventually: Any
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


async def test_used_connections_are_counted(dsn: str) -> None:
    async with opened(Pool, dsn, min_size=2) as pool:
        conns = [await pool.getconn(), await pool.getconn()]
        assert pool.get_stats()["pool_used"] == 2
        await pool.putconn(conns[0])
        await conns[1].close()
        await pool.putconn(conns[1])
        assert pool.get_stats()["pool_used"] == 0
