"""A pool of connections: psycopg's, which loses none, checks the idle ones and names who leaks."""

# ruff: noqa: ASYNC109 -- the signatures are psycopg_pool's

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import backoff
import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from psycopg_pool.abc import (
    ACT,
    AsyncConnectFailedCB,
    AsyncConnectionCB,
    AsyncConninfoParam,
    AsyncKwargsParam,
)
from psycopg_pool.base import AttemptWithBackoff
from psycopg_pool.pool_async import AddConnection

from mtenant_database.cutoff import cut_off_after
from mtenant_database.dsn import read_dsn
from mtenant_database.loan import Loan
from mtenant_database.record import Record, may_have_strayed, path_of, record_of, set_record
from mtenant_database.waiter import Waiter

if TYPE_CHECKING:
    from backoff.types import Details

    from mtenant_database.telemetry import Telemetry

T = TypeVar("T")
Reason = Literal["lifetime", "idle", "broken", "drain", "leak"]

CHECK_TIMEOUT: Final = 5.0
"""How long a connection may take to answer a liveness check, in seconds."""


logger = logging.getLogger(__name__)


class _Attempt(AttemptWithBackoff):
    """psycopg_pool's waits between attempts to reconnect, which double, up to a longest one."""

    def __init__(self, *, timeout: float, longest: float) -> None:
        super().__init__(timeout=timeout)
        self.longest = longest

    def update_delay(self, now: float) -> None:
        super().update_delay(now)
        self.delay = min(self.delay, self.longest)


class Pool(AsyncConnectionPool[ACT]):
    """psycopg's `AsyncConnectionPool`, with the same arguments, methods, errors and statistics.

    What it adds:

    - No cancellation loses a connection or a waiter. A release that has to wait (for a rollback, or
      the pool's lock) is a task that the pool keeps; whoever returned the connection waits for it
      behind a shield. `check()` and `close()` run to their end in the same way.
    - A connection that was idle for `check_after` seconds is asked whether it lives before it is
      lent, and replaced if it does not answer within 5 s; the others cost no round trip.
    - `open()` may try again (`max_retries`), so that a program can start before its database.
    - A connection comes back as it went: one whose `search_path` is not what it was when the
      connection was new is closed, counted (`closed_leak`) and logged with the borrower's stack.
      PostgreSQL 18 reports the path by itself; an older server is asked at every tenth return.
    - `drain()` means the connections, too, that are being made: such a one is lent once at most.
    - A connection that needs no care is lent and taken back in one step, which is not logged.
    - With `leak_threshold`, a connection that is out for longer is logged with the borrower's
      stack, and once more when it comes back.
    - `get_stats()` also has `pool_used` and why connections were closed: `closed_lifetime`,
      `closed_idle`, `closed_broken`, `closed_drain`, `closed_leak`.

    Args:
        conninfo: As psycopg's, and so is every argument that is not listed here.
        max_retries: How often `open()` tries again to make its first connection before it raises
            the error. Waits are random, up to 1, 2, 4 ... seconds (full jitter), each attempt is
            logged. None: `open()` returns at once and connects in the background.
        retry_interval: The longest wait between two attempts, in seconds; also for the attempts to
            reconnect in the background, which go on for `reconnect_timeout` seconds.
        check_after: Idle time after which a connection is checked before it is lent, in seconds;
            None: never. With a `check` of your own, that runs at every loan, as psycopg's does.
        leak_threshold: When a loan is logged as a leak, in seconds; None: never.
        telemetry: Is told of connections made, lent, returned and waited for.
    """

    _waiting: deque[Waiter[ACT]]  # type: ignore[assignment]  # a deque of the subclass only

    def __init__(
        self,
        conninfo: AsyncConninfoParam = "",
        *,
        connection_class: type[ACT] = cast("type[ACT]", AsyncConnection),  # noqa: B008 -- a type
        kwargs: AsyncKwargsParam | None = None,
        min_size: int = 4,
        max_size: int | None = None,
        open: bool | None = None,
        configure: AsyncConnectionCB[ACT] | None = None,
        check: AsyncConnectionCB[ACT] | None = None,
        reset: AsyncConnectionCB[ACT] | None = None,
        name: str | None = None,
        close_returns: bool = False,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 60 * 60.0,
        max_idle: float = 10 * 60.0,
        reconnect_timeout: float = 5 * 60.0,
        reconnect_failed: AsyncConnectFailedCB | None = None,
        num_workers: int = 3,
        max_retries: int | None = None,
        retry_interval: float = 10.0,
        check_after: float | None = 1.0,
        leak_threshold: float | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.max_retries = max_retries
        self.retry_interval = retry_interval
        self.check_after = check_after
        self.leak_threshold = leak_threshold
        self.last_failure: str | None = None
        """Why the last attempt to connect failed; None once one has succeeded."""
        self._telemetry = telemetry
        self._kept: set[asyncio.Task[Any]] = set()
        self._used = 0
        super().__init__(
            conninfo,
            connection_class=connection_class,
            kwargs=kwargs,
            min_size=min_size,
            max_size=max_size,
            open=open,
            configure=configure,
            check=check,
            reset=reset,
            name=name,
            close_returns=close_returns,
            timeout=timeout,
            max_waiting=max_waiting,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
            reconnect_timeout=reconnect_timeout,
            reconnect_failed=reconnect_failed,
            num_workers=num_workers,
        )
        if telemetry is not None:
            telemetry.watch(self)

    # Opening and connecting.

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Open the pool; with `max_retries`, once the server has accepted a first connection.

        A pool whose opening failed or was cancelled has not been opened, and may be opened later.

        Args:
            wait: Wait for `min_size` connections.
            timeout: How long to wait for them, in seconds.

        Raises:
            psycopg.OperationalError: No attempt made a connection; the error is the last one's.
            PoolTimeout: There were fewer than `min_size` connections in time.
            PoolClosed: The pool has been closed.
        """
        if self.max_retries is None or not self.closed:
            await super().open(wait, timeout)
            return
        self._check_open()
        first = await self._first_connection(self.max_retries)
        if not self._opened:
            self._open_with(first)
        else:  # by somebody else, in the meantime
            first._pool = None
            await first.close()
            self._check_open()
        if wait:
            await self.wait(timeout)

    async def _first_connection(self, retries: int) -> ACT:
        connect = backoff.on_exception(
            backoff.expo,
            psycopg.OperationalError,
            max_tries=retries + 1,
            max_value=self.retry_interval,
            jitter=backoff.full_jitter,
            logger=None,
            on_backoff=self._log_retry,
        )(self._connect)
        return await connect()

    def _log_retry(self, details: Details) -> None:
        logger.warning(
            "attempt %d of %d to connect pool %r failed (%s); the next follows in %.1f s",
            details["tries"],
            (self.max_retries or 0) + 1,
            self.name,
            self.last_failure,
            details["wait"],
        )

    def _open_with(self, first: ACT) -> None:
        # In one step, so that nothing can be cancelled. The workers are started on min_size
        # connections less the one that is here.
        ahead = min(1, self._nconns)
        self._nconns -= ahead
        self._open()
        self._nconns += 1
        self._hand_over(first, record_of(first))

    async def _connect(self, timeout: float | None = None) -> ACT:
        begun = monotonic()
        try:
            conn = await super()._connect(timeout)
            try:
                path = await path_of(conn)
            except BaseException:
                await AsyncConnectionPool._close_connection(self, conn)
                raise
        except Exception as error:
            self.last_failure = _first_line(error)
            if self._telemetry is not None:
                self._telemetry.connection_failed()
            raise
        set_record(conn, Record(path))
        conn._created_at = begun  # so that a drain means those, too, that were on their way
        self.last_failure = None
        if self._telemetry is not None:
            self._telemetry.connection_made(self.name, monotonic() - begun)
        return conn

    async def _resolve_conninfo(self) -> str:
        conninfo = await super()._resolve_conninfo()
        if read_dsn(conninfo) is None:
            # psycopg would raise and log libpq's words, which may be the password.
            raise psycopg.ProgrammingError("the connection string cannot be read")
        return conninfo

    async def _add_connection(
        self, attempt: AttemptWithBackoff | None, growing: bool = False
    ) -> None:
        if attempt is None:
            attempt = _Attempt(timeout=self.reconnect_timeout, longest=self.retry_interval)
        await super()._add_connection(attempt, growing)

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait for `min_size` connections, as psycopg's does; a cancelled wait may be repeated."""
        try:
            await super().wait(timeout)
        except asyncio.CancelledError:
            self._pool_full_event = None
            raise

    # Lending.

    async def getconn(self, timeout: float | None = None) -> ACT:
        """Borrow a connection; every call is paired with one of `putconn()`.

        Args:
            timeout: How long to wait for one, in seconds; the pool's `timeout` by default.

        Raises:
            PoolTimeout: None was free in time. The message says why connecting fails, if it does.
            TooManyRequests: `max_waiting` others wait already.
            PoolClosed: The pool is not open.
        """
        begun = monotonic()
        try:
            conn = self._take_ready(timeout) or await super().getconn(timeout)
        except PoolTimeout as error:
            if self._telemetry is not None:
                self._telemetry.loan_timed_out(self.name)
            if self.last_failure is None:
                raise
            message = f"{error}; the last attempt to connect failed: {self.last_failure}"
            raise PoolTimeout(message) from None
        loan = Loan()
        record_of(conn).loan = loan
        self._used += 1
        if self.leak_threshold is not None:
            loop = asyncio.get_running_loop()
            loan.timer = loop.call_later(self.leak_threshold, self._report_overdue, loan)
        if self._telemetry is not None:
            self._telemetry.loan_began(self.name, loan.since - begun)
        return conn

    def _take_ready(self, timeout: float | None) -> ACT | None:
        """Return a connection that may be lent in this very step; None where psycopg has to look."""
        if (
            self._closed
            or self._open_implicit  # it warns of that
            or self._check
            or self._lock.locked()
            or not self._pool
            or (timeout is not None and timeout <= 0)
            or self._is_due(self._pool[0])
        ):
            return None
        conn = self._pool.popleft()
        self._nconns_min = min(self._nconns_min, len(self._pool))
        self._stats[self._REQUESTS_NUM] += 1
        record_of(conn).pooled = False
        conn._pool = self
        return conn

    async def _getconn_unchecked(self, timeout: float) -> ACT:
        deadline = monotonic() + timeout
        while True:
            conn = await self._take(deadline - monotonic())
            if not self._is_due(conn) or await self._is_alive(conn):
                # While it lies in the pool it must not refer to it: that would be a cycle.
                conn._pool = self
                return conn

    async def _take(self, timeout: float) -> ACT:
        """Return a connection, of the pool or of whoever returns one next."""
        waiter: Waiter[ACT] | None = None
        async with self._lock:
            conn = await self._get_ready_connection(timeout)
            if conn is None:
                waiter = Waiter()
                self._waiting.append(waiter)
                self._stats[self._REQUESTS_QUEUED] += 1
                self._maybe_grow_pool()
        if waiter is None:
            record_of(cast("ACT", conn)).pooled = False
            return cast("ACT", conn)
        begun = monotonic()
        try:
            return await waiter.wait(timeout)
        except BaseException:
            self._stats[self._REQUESTS_ERRORS] += 1
            if waiter.conn is not None:
                await self._putconn(waiter.conn, from_getconn=True)
            elif waiter in self._waiting:  # else those who gave up would count as waiting
                self._waiting.remove(waiter)
            raise
        finally:
            self._stats[self._REQUESTS_WAIT_MS] += int(1000.0 * (monotonic() - begun))

    def _is_due(self, conn: ACT) -> bool:
        """Tell whether the connection was idle for so long that it is checked."""
        return (
            self.check_after is not None
            and self._check is None  # which runs at every loan
            and monotonic() - record_of(conn).idle_since >= self.check_after
        )

    async def _is_alive(self, conn: ACT) -> bool:
        """Tell whether the connection answers; one that does not is replaced."""
        try:
            with cut_off_after(CHECK_TIMEOUT, conn):
                await self.check_connection(conn)
        except Exception as error:
            logger.info("an idle connection of pool %r is dead: %s", self.name, error)
            await self._putconn(conn, from_getconn=True)
            return False
        except BaseException:
            await self._putconn(conn, from_getconn=True)
            raise
        return True

    def _report_overdue(self, loan: Loan) -> None:
        loan.overdue = True
        logger.warning(
            "a connection of pool %r is out for %.1f s and may be lost; borrowed at:\n%s",
            self.name,
            loan.seconds,
            loan.where(),
        )

    # Taking back.

    async def putconn(self, conn: ACT) -> None:
        """Return a connection, in whatever state it is.

        A cancelled call returns it all the same, and so does a second one while the first goes on.

        Raises:
            ValueError: The connection is not on loan from this pool.
        """
        self._check_pool_putconn(conn)
        record = record_of(conn)
        if record.loan is not None and not record.loan.ended:
            self._end_loan(record, record.loan)
        if record.release is None and self._needs_no_care(conn, record):
            self._hand_over(conn, record)
        else:
            await super().putconn(conn)

    def _end_loan(self, record: Record, loan: Loan) -> None:
        loan.end()
        self._used -= 1
        record.returns += 1
        if loan.overdue:
            logger.warning(
                "a connection of pool %r that seemed lost came back after %.1f s; borrowed at:\n%s",
                self.name,
                loan.seconds,
                loan.where(),
            )
        if self._telemetry is not None:
            self._telemetry.loan_ended(self.name, loan.seconds)

    async def _putconn(self, conn: ACT, from_getconn: bool) -> None:
        record = record_of(conn)
        if record.release is None:
            if self._needs_no_care(conn, record):
                self._hand_over(conn, record)
                return
            release = self._keep(self._release(conn, record, from_getconn))
            record.release = release
        if not self._reset:  # psycopg's pool resets behind the borrower's back
            await asyncio.shield(record.release)

    def _needs_no_care(self, conn: ACT, record: Record) -> bool:
        """Tell whether the next borrower may have it in this very step, without an await."""
        return not (
            self._closed
            or self._reset
            # Unlocked, nobody is inside a critical section, and a step without await is one.
            or self._lock.locked()
            or conn.pgconn.transaction_status != TransactionStatus.IDLE
            or conn._expire_at <= monotonic()
            or conn._created_at <= self._drained_at
            or may_have_strayed(conn, record)
        )

    def _hand_over(self, conn: ACT, record: Record) -> None:
        conn._pool = None
        record.loan = None
        record.idle_since = monotonic()
        while self._waiting:
            if self._waiting.popleft().give(conn):
                return
        record.pooled = True
        self._pool.append(conn)
        if self._pool_full_event and len(self._pool) >= self._min_size:
            self._pool_full_event.set()

    async def _release(self, conn: ACT, record: Record, from_getconn: bool) -> None:
        try:
            await self._return_connection(conn, from_getconn)
        finally:
            record.release = None

    async def _reset_connection(self, conn: ACT) -> None:
        if conn.pgconn.transaction_status == TransactionStatus.UNKNOWN:
            self._count_closed("broken")
            return
        await super()._reset_connection(conn)
        record = record_of(conn)
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            return
        if may_have_strayed(conn, record):
            await self._close_if_strayed(conn, record)

    async def _close_if_strayed(self, conn: ACT, record: Record) -> None:
        try:
            with cut_off_after(CHECK_TIMEOUT, conn):
                path = await path_of(conn)
        except psycopg.Error as error:
            logger.warning("a connection of pool %r does not answer: %s", self.name, error)
            await self._close_connection(conn)
            return
        if path == record.path:
            return
        record.leaked = True
        logger.error(
            "a connection of pool %r came back with search_path %s instead of %s: it is closed, or"
            " the next borrower would work on another's tables; borrowed at:\n%s",
            self.name,
            path.decode("utf-8", "replace"),
            (record.path or b"").decode("utf-8", "replace"),
            record.loan.where() if record.loan else "  unknown\n",
        )
        await self._close_connection(conn)

    async def _add_to_pool(self, conn: ACT) -> None:
        conn._pool = None
        async with self._lock:
            if not self._closed:
                self._hand_over(conn, record_of(conn))
                return
        await self._close_connection(conn)

    # Keeping house.

    async def check(self) -> None:
        """Ask each connection in the pool whether it lives, and replace those that do not."""
        await asyncio.shield(self._keep(self._check_all()))

    async def _check_all(self) -> None:
        async with self._lock:
            conns = list(self._pool)
            self._pool.clear()
            self._maybe_grow_pool()
        for conn in conns:
            if conn._expire_at <= monotonic():
                await self._close_connection(conn)
                self.run_task(AddConnection(self))
                continue
            record_of(conn).pooled = False
            try:
                with cut_off_after(CHECK_TIMEOUT, conn):
                    await self.check_connection(conn)
            except Exception:
                self._stats[self._CONNECTIONS_LOST] += 1
                logger.warning("discarding broken connection: %s", conn)
                await self._close_connection(conn)
                self.run_task(AddConnection(self))
            else:
                await self._add_to_pool(conn)

    async def close(self, timeout: float = 5.0) -> None:
        """Close the pool: those who wait get PoolClosed, loans are closed when they come back.

        Args:
            timeout: How long to wait for the pool's own work to end, in seconds.
        """
        await asyncio.shield(self._keep(self._close_all(set(self._kept), timeout)))

    async def _close_all(self, under_way: set[asyncio.Task[Any]], timeout: float) -> None:
        await super().close(timeout)
        if under_way:
            await asyncio.wait(under_way, timeout=timeout)

    async def _close_connection(self, conn: ACT) -> None:
        self._count_closed(self._why(conn))
        await super()._close_connection(conn)

    def _why(self, conn: ACT) -> Reason:
        record = record_of(conn)
        if record.leaked:
            return "leak"
        if conn._created_at <= self._drained_at:
            return "drain"
        if conn._expire_at <= monotonic():
            return "lifetime"
        # One that lies in the pool and is neither old nor drained is closed when the pool shrinks.
        return "idle" if record.pooled else "broken"

    def _count_closed(self, reason: Reason) -> None:
        if self._closed:  # and there is no other reason
            return
        self._stats[f"closed_{reason}"] += 1
        if self._telemetry is not None:
            self._telemetry.connection_closed(self.name, reason)

    def _get_measures(self) -> dict[str, int]:
        return {**super()._get_measures(), "pool_used": self._used}

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that goes on when whoever waits for it is cancelled."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return task


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
