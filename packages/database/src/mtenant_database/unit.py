"""The connection of a transaction: begun with its first statement, and certain how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal, NoReturn

from psycopg import OperationalError
from psycopg._queries import PostgresQuery
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult

from mtenant_database.commit import CommitLost
from mtenant_database.engine import Connection, Engine, Fault, lost
from mtenant_database.errors import DatabaseUnavailable, TransactionAborted
from mtenant_database.flush import ConnectionLost, Messages, Prepared, Queued, Text
from mtenant_database.own import BEGIN
from mtenant_database.scope import Target, milliseconds, scope_text
from mtenant_database.sqlstate import translate
from mtenant_database.statement import deletes
from mtenant_database.telemetry import Kind, Observation
from mtenant_errors import AppError

Isolation = Literal["read committed", "repeatable read", "serializable"]

_LEVELS: Final = ("read committed", "repeatable read", "serializable")
_IN_ERROR: Final = TransactionStatus.INERROR
_IN_TRANSACTION: Final = TransactionStatus.INTRANS
_IDLE: Final = TransactionStatus.IDLE
_TRANSACTION_TIMEOUT_SINCE: Final = 170000
_TIMEOUTS: Final = b"select set_config('statement_timeout', $1, true), set_config($2, $3, true)"


@dataclass(frozen=True)
class Options:
    """How a transaction runs; see `Handle.transaction`."""

    isolation: Isolation | None = None
    read_only: bool = False
    deferrable: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.isolation is not None and self.isolation not in _LEVELS:
            raise ValueError(f"isolation is {self.isolation!r}: write one of {', '.join(_LEVELS)}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout!r}: write seconds, more than 0")

    @cached_property
    def begin(self) -> bytes:
        """The BEGIN statement."""
        words = [BEGIN.decode()]
        if self.isolation:
            words.append(f"ISOLATION LEVEL {self.isolation.upper()}")
        if self.read_only:
            words.append("READ ONLY")
        if self.deferrable:
            words.append("DEFERRABLE")
        return " ".join(words).encode()


@lru_cache(128)
def options(
    isolation: Isolation | None, read_only: bool, deferrable: bool, timeout: float | None
) -> Options:
    """Return options; programs have few, and begin transactions with them all the time."""
    return Options(isolation, read_only, deferrable, timeout)


class Unit:
    """One transaction on one connection, which is borrowed for its first statement.

    It is for one user at a time; `Transaction` sees to that.

    Attributes:
        tenant: The tenant's id; None without a tenant.
        conn: The connection, once it is borrowed.
        pending: What travels with the next statement: SAVEPOINT, RELEASE, and what was queued.
    """

    __slots__ = (
        "_begun",
        "_engine",
        "_identity",
        "_options",
        "_target",
        "_timeout",
        "_watch",
        "_xid",
        "conn",
        "pending",
        "tenant",
    )

    def __init__(
        self, engine: Engine, target: Target | None, timeout: float, options: Options
    ) -> None:
        self._engine = engine
        self._target = target
        self._timeout = timeout
        self._options = options
        self._begun = False
        self._xid: str | None = None
        self._identity: str | None = None
        self._watch: Observation | None = None
        self.tenant = target.tenant if target is not None else None
        self.conn: Connection | None = None
        self.pending: list[Text | Queued] = []

    @property
    def failed(self) -> bool:
        """Whether a statement has failed, so that the server takes no other."""
        return self.conn is not None and self.conn.pgconn.transaction_status == _IN_ERROR

    @property
    def queued(self) -> bool:
        """Whether a statement of the caller's waits for the next one."""
        return any(isinstance(message, Queued) for message in self.pending)

    async def connection(self) -> Connection:
        """Return the connection; it is borrowed the first time."""
        if self.conn is None:
            self.conn = await self._engine.borrow(self.tenant)
        return self.conn

    async def send(
        self,
        conn: Connection,
        operation: Kind,
        text: str,
        messages: Messages,
        *,
        writes: bool,
    ) -> tuple[list[PGresult], float]:
        """Send statements, behind what has to precede them; return their results and the seconds.

        Args:
            conn: What `connection` returned.
            operation: As for `Engine.send`.
            text: The statement, for logs and traces.
            messages: The statement, or one for each row of parameters; may be none.
            writes: Whether it may give the transaction an id, which is then asked for.

        Raises:
            AppError: One of them failed.
        """
        ahead = self._ahead(conn)
        pending, self.pending = self.pending, []
        before = [*ahead, *pending]
        behind = [self._engine.own.xid] if writes and self._xid is None else []
        everything = [*before, *messages, *behind]
        if not everything:
            return [], 0.0
        if not self._begun:
            self._begun = True
            self._watch = self._engine.telemetry.begin("transaction", "", self.tenant)
        try:
            results, fault, duration = await self._engine.send(
                conn,
                everything,
                ends=False,
                operation=operation,
                statement=_texts(pending, text) if pending else text,
                tenant=self.tenant,
                place=min(len(before), len(everything) - 1),
            )
        except OperationalError as exc:
            # Whatever it did goes with the transaction.
            raise lost(exc, writes=False) from exc
        if fault is not None:
            self._fail(fault, ahead, everything)
        if behind:
            self._take_xid(conn, results[-1])
        return results[len(before) : len(before) + len(messages)], duration

    def _ahead(self, conn: Connection) -> list[Text | Prepared]:
        if not self._begun:
            return self._opening(conn)
        status = conn.pgconn.transaction_status
        if status in {_IN_TRANSACTION, _IN_ERROR}:
            return []
        # Nothing may be sent here now: it would run by itself, and without its tenant.
        raise DatabaseUnavailable(internal="the transaction has ended with its connection")

    def _opening(self, conn: Connection) -> list[Text | Prepared]:
        engine, target, limit = self._engine, self._target, self._options.timeout
        text = self._options.begin
        begin = engine.own.begin if text == BEGIN else Text(text)
        if limit is None:
            if target is None:
                return [begin]
            return [begin, engine.own.write_scope(target.encoded(self._timeout))]
        statement = min(self._timeout, limit) if self._timeout > 0 else limit
        whole = (
            "transaction_timeout"
            if conn.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
            else "idle_in_transaction_session_timeout"
        )
        bound = [whole.encode(), milliseconds(limit).encode()]
        if target is None:
            return [begin, Text(_TIMEOUTS, [milliseconds(statement).encode(), *bound])]
        sql = scope_text(read_only=False, role=engine.role, extra=True)
        return [
            begin,
            Text(sql.encode(), [*target.encoded(statement), *bound]),
        ]

    def _fail(self, fault: Fault, ahead: Messages, messages: Messages) -> NoReturn:
        error: AppError
        if fault.place == 1 < len(ahead) and self._target is not None:
            error = self._engine.scope_error(fault, self._target)
        else:
            error = _error_of(messages, fault)
        raise error from fault.error

    def _take_xid(self, conn: Connection, result: PGresult) -> None:
        xid = result.get_value(0, 0)
        if xid is None:
            return
        self._xid = xid.decode()
        if self._engine.named:
            self._identity = self._engine.timelines.get(conn)
        elif (identity := result.get_value(0, 1)) is not None:
            self._identity = identity.decode()

    async def commit(self, conn: Connection) -> None:
        """Commit.

        Raises:
            CommitLost: The connection was lost, and it may have been committed.
            TransactionAborted: It had failed before, or ended early.
            AppError: COMMIT failed; nothing was saved.
        """
        if not (self._begun or self.queued):
            return
        if conn.closed:
            raise DatabaseUnavailable(internal="the connection was lost before COMMIT")
        if self.queued and self._xid is None and not self.failed:
            # By itself: should the answer to COMMIT be lost, its outcome is asked for by the id.
            await self.send(conn, "exec", "", [], writes=True)
        if conn.pgconn.transaction_status != _IN_TRANSACTION:
            await self.roll_back(conn)
            raise TransactionAborted(internal="an error inside the transaction was caught")
        asks = self._xid is None and not self._options.read_only
        before = [*self.pending, *([self._engine.own.xid] if asks else [])]
        place = len(before)
        messages = [*before, self._engine.own.commit, *self._engine.ask_position()]
        try:
            results, fault, _ = await self._engine.send(
                conn,
                messages,
                ends=True,
                operation="commit",
                statement=_texts(self.pending, "COMMIT") if self.pending else "COMMIT",
                tenant=self.tenant,
                place=place,
            )
        except ConnectionLost as exc:
            self._lost(conn, asks, exc.results, exc)
        else:
            if fault is None or (fault.place > place and not fault.closed):
                self._tell_commit(conn, asks, results)
                return
            if not fault.closed or fault.place < place:
                raise _error_of(messages, fault) from fault.error
            self._lost(conn, asks, results, fault.error)

    def _tell_commit(self, conn: Connection, asks: bool, results: Sequence[PGresult]) -> None:
        if asks:
            self._take_xid(conn, results[len(self.pending)])
        if self._xid is not None:  # else it has written nothing
            self._engine.tell_commit(self.tenant, results)

    def _lost(
        self, conn: Connection, asks: bool, results: Sequence[PGresult], cause: Exception
    ) -> None:
        place = len(self.pending)
        if self._options.read_only:
            return
        if asks and len(results) > place:
            self._take_xid(conn, results[place])
            if self._xid is None:
                return  # it has written nothing, so that there is nothing to commit
        raise CommitLost(self._xid, self._identity, cause)

    async def roll_back(self, conn: Connection) -> None:
        """Roll back; a connection on which that fails is closed, which rolls back too."""
        try:
            if not conn.closed and conn.pgconn.transaction_status != _IDLE:
                await self._command(conn, [Text(b"ROLLBACK")])
        finally:
            if not conn.closed and conn.pgconn.transaction_status != _IDLE:
                conn.pgconn.finish()

    async def roll_back_to(self, savepoint: bytes) -> None:
        """Roll back to a savepoint and forget it; after a failure the whole transaction has failed."""
        conn = self.conn
        if conn is not None and not conn.closed and conn.pgconn.transaction_status != _IDLE:
            back = [
                Text(b"ROLLBACK TO SAVEPOINT " + savepoint),
                Text(b"RELEASE SAVEPOINT " + savepoint),
            ]
            await self._command(conn, back)

    async def _command(self, conn: Connection, messages: Sequence[Text]) -> None:
        try:
            await self._engine.send(
                conn,
                messages,
                ends=False,
                operation="rollback",
                statement=messages[0].query.decode(),
                tenant=self.tenant,
            )
        except OperationalError:
            return  # the connection is closed, and the exception that led here says more

    async def release(self) -> None:
        """Give the connection back."""
        conn, self.conn = self.conn, None
        if self._watch is not None:
            self._watch.end()
        if conn is not None:
            await self._engine.release(conn)


def _texts(before: Messages, text: str) -> str:
    """Return what a flush is sent for, with what was queued ahead of it; each text once."""
    texts = [message.text for message in before if isinstance(message, Queued)]
    if not texts:
        return text
    return "; ".join(dict.fromkeys([*texts, text] if text else texts))


def _error_of(messages: Messages, fault: Fault) -> AppError:
    failed = messages[fault.place] if fault.place < len(messages) else None
    removes = isinstance(failed, (PostgresQuery, Queued)) and deletes(failed.query)
    return translate(fault.error, deletes=removes)
