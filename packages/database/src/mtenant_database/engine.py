"""What all handles of one `Database` share: the pool, and how a flush is sent and its errors read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from mtenant_database.admission import Admission, Place
from mtenant_database.breaker import Breaker
from mtenant_database.commit import IDENTITY
from mtenant_database.errors import (
    CommitUnknown,
    DatabaseFault,
    DatabaseUnavailable,
    PoolExhausted,
    TenantNotFound,
    TenantSuspended,
    TenantThrottled,
)
from mtenant_database.flush import Messages, Text, flush, prepare, single
from mtenant_database.holders import Holders
from mtenant_database.own import OwnStatements
from mtenant_database.pool import Pool
from mtenant_database.position import POSITION, parse_position
from mtenant_database.prepared import PreparedStatements
from mtenant_database.scope import MISSING_SCHEMA, NO_ROLE, NO_USAGE, NOT_A_MEMBER, Target
from mtenant_database.sqlstate import translate
from mtenant_database.telemetry import Kind, Observation, Telemetry
from mtenant_errors import AppError

Connection = AsyncConnection[Any]

_FATAL: Final = ExecStatus.FATAL_ERROR
_NO_SUCH_STATEMENT: Final = "26000"
_MOST_WRITERS: Final = 1000
_IDENTITY: Final = f"select {IDENTITY}".encode()

_logger = logging.getLogger("mtenant_database")


@dataclass(frozen=True, slots=True)
class Fault:
    """The first error of a flush: what it was, and which message it belongs to.

    `place` counts from 0; the number of messages itself is the commit that a Sync makes.
    """

    place: int
    error: psycopg.Error

    @property
    def closed(self) -> bool:
        """Whether it is the one with which the server closed the connection."""
        return self.error.diag.severity_nonlocalized in {"FATAL", "PANIC"}

    @property
    def sqlstate(self) -> str:
        """The SQLSTATE, never empty."""
        return self.error.sqlstate or "XX000"


@dataclass(eq=False)
class Engine:
    """Borrows connections, sends flushes, and tells whose fault an error is.

    Attributes:
        pool: Where connections come from; they are in autocommit.
        telemetry: What is told of every flush.
        admission: Whose turn it is to borrow one.
        breaker: Whether the server is there, as far as is known.
        named: Whether our own statements are prepared on every connection.
        role: Whether a scope takes the tenant's role too.
        resolve_within: How long the outcome of a lost commit is asked for, in seconds.
        needs: The version of each component that the program is written for.
        committed: Is told of each commit in a scope: whose, and the position in the log behind it, or
            None where that is not known. Without it nobody asks for the position.
        standby: Whether it leads to a replica: what has to be sent as a write is `ReadOnlyDatabase`.
        holders: Who holds an open transaction.
        writers: Texts of statements that looked like reads and wrote; as a set with an order.
        timelines: The server and timeline that a connection leads to.
        prepared: The statements without a tenant that a connection has prepared.
        places: The places that the connections which are out have taken.
        lent: How many connections are out.
        closing: Set once the last one is back; None as long as they are lent.
        own: BEGIN, COMMIT, the scope, as messages.
    """

    pool: Pool[Connection]
    telemetry: Telemetry
    admission: Admission
    breaker: Breaker
    named: bool
    role: bool
    resolve_within: float
    needs: Mapping[str, int] | None = None
    committed: Callable[[str | None, int | None], None] | None = None
    standby: bool = False
    holders: Holders = field(default_factory=Holders)
    writers: dict[bytes, None] = field(default_factory=dict)
    timelines: WeakKeyDictionary[Connection, str] = field(default_factory=WeakKeyDictionary)
    prepared: WeakKeyDictionary[Connection, PreparedStatements] = field(
        default_factory=WeakKeyDictionary
    )
    places: dict[Connection, Place] = field(default_factory=dict)
    lent: int = 0
    closing: asyncio.Event | None = None
    warned: bool = False
    own: OwnStatements = field(init=False)

    def __post_init__(self) -> None:
        self.own = OwnStatements(named=self.named, role=self.role)

    async def configure(self, conn: Connection) -> None:
        """Make a new connection ready: our statements by name, and where it leads to."""
        # psycopg would forget all named statements at once, ours too, when one of its own is stale.
        conn.prepare_threshold = None
        self._warn_of_superuser(conn)
        if not self.named:
            return
        self.prepared[conn] = PreparedStatements()
        for result in await conn.wait(prepare(conn.pgconn, self.own.to_prepare())):
            if result.status == _FATAL:
                raise psycopg.errors.error_from_result(result)
        results = await conn.wait(single(conn.pgconn, Text(_IDENTITY)))
        if results[0].status == ExecStatus.TUPLES_OK and (where := results[0].get_value(0, 0)):
            self.timelines[conn] = where.decode()

    def _warn_of_superuser(self, conn: Connection) -> None:
        if not self.warned and conn.pgconn.parameter_status(b"is_superuser") == b"on":
            self.warned = True
            _logger.warning(
                "the role %s is a superuser: suspending a tenant and row security do not bind it;"
                " connect as an ordinary role",
                conn.info.user,
            )

    def ask_position(self) -> list[Text]:
        """Return what to send behind a COMMIT, to be able to tell of it."""
        return [Text(POSITION)] if self.committed is not None else []

    def tell_commit(self, tenant: str | None, results: Sequence[PGresult]) -> None:
        """Tell of a commit; the position is the last result, unless that is an error."""
        if self.committed is None:
            return
        position = None
        if results and results[-1].status == ExecStatus.TUPLES_OK:
            position = parse_position((results[-1].get_value(0, 0) or b"").decode())
        self.committed(tenant, position)

    @asynccontextmanager
    async def connection(self, tenant: str | None = None) -> AsyncIterator[Connection]:
        """Borrow a connection, when it is the tenant's turn.

        Raises:
            PoolExhausted: None became free in time.
            TenantThrottled: Likewise, and the tenant has its cap.
            DatabaseUnavailable: The pool is not open.
        """
        conn = await self.borrow(tenant)
        try:
            yield conn
        finally:
            await self.release(conn)

    async def borrow(self, tenant: str | None) -> Connection:
        """Borrow a connection that `release` must get back; raises as `connection`."""
        if self.closing is not None:
            raise DatabaseUnavailable(internal="the Database is closing")
        self.breaker.check()
        place = self.admission.enter_now(tenant) or await self._wait_for_place(tenant)
        try:
            conn = await self.pool.getconn()
        except BaseException as exc:
            self.admission.leave(place)
            if isinstance(exc, psycopg.Error):
                if self.pool.last_failure is not None:
                    self.breaker.failed()
                raise translate(exc) from exc
            raise
        self.places[conn] = place
        self.lent += 1
        return conn

    async def _wait_for_place(self, tenant: str | None) -> Place:
        try:
            return await self.admission.enter(tenant, self.pool.timeout)
        except TenantThrottled as exc:
            if self.pool.last_failure is None:
                raise
            # Everybody waits for a server that is away: that is nobody's share.
            why = f"{exc.internal}; connecting fails: {self.pool.last_failure}"
            raise PoolExhausted(internal=why, retry_after=exc.retry_after) from None

    async def release(self, conn: Connection) -> None:
        """Give a connection back."""
        self.lent -= 1
        try:
            await self.pool.putconn(conn)
        finally:
            self.admission.leave(self.places.pop(conn))
            if self.closing is not None and not self.lent:
                self.closing.set()

    async def idle(self, seconds: float) -> int:
        """Lend no more, wait until all connections are back, and return how many are not."""
        self.closing = self.closing or asyncio.Event()
        with suppress(TimeoutError):
            if self.lent:
                await asyncio.wait_for(self.closing.wait(), seconds)
        return self.lent

    async def send(
        self,
        conn: Connection,
        messages: Messages,
        *,
        ends: bool,
        operation: Kind,
        statement: str,
        tenant: str | None,
        place: int = 0,
    ) -> tuple[list[PGresult], Fault | None, float]:
        """Send a flush; return the results, the first error among them, and the seconds it took.

        Every statement of a handle or a transaction passes here, `stream` and `copy` aside.

        Args:
            conn: A connection that nobody else uses.
            messages: What to send.
            ends: As for `flush`.
            operation: select, exec, begin, commit or rollback.
            statement: The text that the flush is sent for; never its parameters.
            tenant: The tenant's id, or None.
            place: Which message the text is, to count its rows.

        Raises:
            psycopg.OperationalError: The connection was lost.
        """
        generator: PQGen[list[PGresult]]
        if len(messages) == 1:
            generator = single(conn.pgconn, messages[0])
        else:
            generator = flush(conn.pgconn, messages, ends=ends)
        watch = self.telemetry.begin(operation, statement, tenant)
        try:
            results = await conn.wait(generator)
        except BaseException as exc:
            if isinstance(exc, OperationalError):
                self.breaker.failed()
            watch.end(error=exc)
            raise
        fault = find_fault(results)
        if fault is None or not fault.closed:
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        if fault is None:
            return results, None, watch.end(rows=rows_of(results[place]))
        if fault.sqlstate == _NO_SUCH_STATEMENT:
            # Only ours have names: somebody used DEALLOCATE or DISCARD on this connection.
            conn.pgconn.finish()
        return results, fault, watch.end(error=fault.error)

    @contextmanager
    def observed(
        self, operation: Kind, statement: str, tenant: str | None
    ) -> Iterator[Observation]:
        """Observe what psycopg itself sends, and translate what it raises."""
        watch = self.telemetry.begin(operation, statement, tenant)
        try:
            yield watch
        except psycopg.Error as exc:
            watch.end(error=exc)
            raise translate(exc) from exc
        except BaseException as exc:
            watch.end(error=exc)
            raise
        watch.end()

    def remember_writer(self, query: bytes) -> None:
        """Remember that this text writes, although it does not look so."""
        while len(self.writers) >= _MOST_WRITERS:
            del self.writers[next(iter(self.writers))]
        self.writers[query] = None

    def scope_error(self, fault: Fault, target: Target) -> AppError:
        """Return the error for one of the scope statement itself."""
        if target.tenant is None or fault.closed:
            return self.own_error(fault)
        about = f"SQLSTATE {fault.sqlstate} of the scope of {target.schema}"
        missing = {MISSING_SCHEMA}
        closed = {NO_USAGE}
        if self.role:
            missing.add(NO_ROLE)
            closed.add(NOT_A_MEMBER)
        if fault.sqlstate in missing:
            return TenantNotFound(internal=about)
        if fault.sqlstate in closed:
            return TenantSuspended(internal=about)
        return self.own_error(fault)

    def own_error(self, fault: Fault) -> AppError:
        """Return the error for one of BEGIN, the scope of `shared`, or another statement of ours."""
        if fault.sqlstate[:2] in {"3F", "42"}:
            return DatabaseFault(
                internal=f"{fault.error}: schema shared is missing or closed to this role;"
                " run `mtenant-db migrate up`"
            )
        return translate(fault.error)


def find_fault(results: Sequence[PGresult]) -> Fault | None:
    """Return the first error of a flush, or None."""
    for place, result in enumerate(results):
        if result.status == _FATAL:
            error = psycopg.errors.error_from_result(result)
            return Fault(place, error)
    return None


def lost(exc: OperationalError, *, writes: bool) -> AppError:
    """Return the error for a connection that was lost before the answer was whole."""
    if writes:
        return CommitUnknown(
            internal=f"{exc}; a transaction (`async with handle.transaction()`) would be resolved"
        )
    return DatabaseUnavailable(internal=str(exc))


def rows_of(result: PGresult) -> int:
    """Return the rows that a statement returned, or the ones it changed."""
    if result.status == ExecStatus.TUPLES_OK and result.ntuples:
        return result.ntuples
    return result.command_tuples or 0
