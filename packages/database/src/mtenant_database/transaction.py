"""A transaction of one tenant: lazy at its beginning, certain at its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from hashlib import blake2b
from itertools import islice
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, overload

from psycopg import AsyncCopy
from psycopg.abc import Params, Query, Transformer
from psycopg.pq.abc import PGresult

from mtenant_database.commit import CommitLost, resolve
from mtenant_database.diagnosis import diagnose
from mtenant_database.engine import Connection, Engine, rows_of
from mtenant_database.errors import TransactionAborted, TransactionOpen
from mtenant_database.flush import Queued, Text
from mtenant_database.rows import RowShape, load
from mtenant_database.scope import Target
from mtenant_database.statement import (
    Kind,
    batch,
    check_copies,
    check_reads,
    convert,
    kind_of,
    text_of,
)
from mtenant_database.telemetry import Kind as Operation
from mtenant_database.unit import Options, Unit
from mtenant_database.verbs import ExecuteResult, Verbs, check_most
from mtenant_errors import AppError

T = TypeVar("T")

_BATCH: Final = 1000

_logger = logging.getLogger(__name__)


class Transaction(Verbs):
    """An open transaction; `async with` it. Its statements are sent one after another.

    Nothing is sent before the first statement, and then BEGIN, the scope and the statement in one
    round trip. It takes a connection at that time too, so that one which does nothing costs nothing.
    """

    __slots__ = (
        "_copier",
        "_cursors",
        "_depth",
        "_engine",
        "_holder",
        "_holds",
        "_lock",
        "_on_commit",
        "_spoiled",
        "_state",
        "_unit",
    )

    def __init__(
        self,
        engine: Engine,
        target: Target | None,
        timeout: float,
        options: Options,
        *,
        holds: bool = True,
    ) -> None:
        self._engine = engine
        self._unit = Unit(engine, target, timeout, options)
        self._holds = holds
        self._holder: asyncio.Task[Any] | None = None
        self._state: Literal["new", "open", "over"] = "new"
        self._lock = asyncio.Lock()
        self._depth = 0
        self._cursors = 0
        self._copier: asyncio.Task[Any] | None = None
        self._spoiled = False
        self._on_commit: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Transaction of {self.tenant!r}, {self._state}>"

    @property
    def tenant(self) -> str | None:
        """The tenant's id; None without a tenant."""
        return self._unit.tenant

    async def __aenter__(self) -> Transaction:
        """Open it; the server hears of it with the first statement.

        Raises:
            TransactionOpen: The task holds a transaction, or this one has been entered before.
        """
        if self._state != "new":
            raise TransactionOpen(internal="a transaction object is entered once")
        if self._holds:
            self._holder = self._engine.holders.hold(self)
        self._state = "open"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back if an exception leaves the block.

        Raises:
            TransactionAborted: A statement had failed, and its error was caught inside.
            CommitUnknown: The connection was lost in COMMIT and the outcome cannot be found out.
            AppError: COMMIT failed, such as by a deferred constraint; nothing was saved.
        """
        self._state = "over"
        if self._holds:
            self._engine.holders.let_go(self._holder)
        conn = self._unit.conn
        if conn is None:
            if exc is None:
                self._tell_committed()
            return
        try:
            try:
                if exc is None and not self._spoiled:
                    await self._commit(conn)
                else:
                    await self._unit.roll_back(conn)
                    await self._explain(conn, exc)
            finally:
                await self._unit.release()
        except CommitLost as lost:
            self._engine.tell_commit(self.tenant, ())
            # After the release: with a pool of one, asking would wait for our own connection.
            await resolve(self._engine, lost)
        if exc is None:
            self._tell_committed()

    async def _commit(self, conn: Connection) -> None:
        try:
            await self._unit.commit(conn)
        except AppError as error:  # of a statement that was queued, too
            await self._unit.roll_back(conn)
            await self._explain(conn, error)
            raise

    async def _explain(self, conn: Connection, exc: BaseException | None) -> None:
        if exc is None:
            raise TransactionAborted(internal="tx.transaction() blocks of several tasks overlapped")
        if isinstance(exc, AppError) and self.tenant is not None and not conn.closed:
            told = await diagnose(conn, self.tenant, exc, self._engine.needs)
            if told is not exc:
                raise told from exc

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Nest: a savepoint, to which an exception that leaves the block rolls back.

        It yields this same object. SAVEPOINT and RELEASE travel with other statements and cost no
        round trip. What was queued in the block is sent at its end, so that its errors are of the block.
        """
        self._check_open()
        self._depth += 1
        depth = self._depth
        name = b"mtenant_%d" % depth
        savepoint = Text(b"SAVEPOINT " + name)
        self._unit.pending.append(savepoint)
        registered = len(self._on_commit)
        try:
            try:
                yield self
                self._check_nesting(depth)
                await self._send_queued()
            except BaseException:
                del self._on_commit[registered:]
                if not self._withdraw(savepoint):
                    self._unit.pending.clear()
                    async with self._lock:
                        await self._unit.roll_back_to(name)
                raise
            if not self._withdraw(savepoint):
                self._unit.pending.append(Text(b"RELEASE SAVEPOINT " + name))
        finally:
            self._depth -= 1

    def on_commit(self, function: Callable[[], object]) -> None:
        """Call a function once the transaction is committed; never, if it is not.

        One that is registered inside `tx.transaction()` goes with the savepoint. The functions are called
        in their order, after the connection is given back; what one raises is logged, since the
        transaction is committed by then.

        Raises:
            TransactionOpen: The transaction is not open.
        """
        self._check_open()
        self._on_commit.append(function)

    def _tell_committed(self) -> None:
        for function in self._on_commit:
            try:
                function()
            except Exception:
                _logger.exception("%r failed after its transaction was committed", function)

    async def lock(self, name: str) -> None:
        """Wait for a lock of that name, held until the transaction ends; tenants never share one."""
        about = f"{self.tenant or ''}\0{name}".encode()
        key = int.from_bytes(blake2b(about, digest_size=8).digest(), "big", signed=True)
        await self.fetch_all("select pg_advisory_xact_lock(%s)", [key])

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Send a statement whose rows, if any, are not wanted.

        Raises:
            AppError: By the table of `mtenant_database.sqlstate`.
        """
        self._check_open()
        async with self._lock:
            conn = await self._connection()
            result, _, duration = await self._statement(conn, "exec", query, params)
        return ExecuteResult(rows_of(result), duration)

    async def queue(self, query: Query, params: Params | None = None) -> None:
        """Send a statement together with the next one, or with COMMIT: it costs no round trip.

        It is for what is written beside the change itself, such as an audit entry or an event: nobody
        waits for its rows. It is sent in its order, and no error of it is lost: the next statement raises
        it, or the end of the `tx.transaction()` block, or of the transaction, of which nothing is saved.

        Raises:
            AppError: By the table of `mtenant_database.sqlstate`.
        """
        self._check_open()
        conn = self._unit.conn
        if conn is None or self._lock.locked():
            async with self._lock:
                conn = await self._connection()
        # From here on it is one step: nobody can get ahead of it.
        converted, _ = convert(conn, query, params)
        kind_of(converted.query)
        text = text_of(query, converted.query)
        parts = converted.query, converted.params, converted.types, converted.formats
        self._unit.pending.append(Queued(*parts, text))
        if len(self._unit.pending) >= _BATCH:
            await self._send_queued()

    async def _send_queued(self) -> None:
        async with self._lock:
            if self._unit.queued:
                conn = await self._connection()
                await self._unit.send(conn, "exec", "", [], writes=True)

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Send a statement once for each row of parameters, a thousand of them in one round trip."""
        affected, duration = 0, 0.0
        source = iter(rows)
        while some := list(islice(source, _BATCH)):
            self._check_open()
            async with self._lock:
                conn = await self._connection()
                messages, text = batch(conn, query, some)
                results, took = await self._unit.send(conn, "exec", text, messages, writes=True)
            affected += sum(rows_of(result) for result in results)
            duration += took
        return ExecuteResult(affected, duration)

    @overload
    def stream(
        self, query: Query, params: Params | None = None, *, row: None = None, size: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Any, ...]]]: ...
    @overload
    def stream(
        self, query: Query, params: Params | None = None, *, row: RowShape[T], size: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...
    @asynccontextmanager
    async def stream(
        self,
        query: Query,
        params: Params | None = None,
        *,
        row: RowShape[Any] | None = None,
        size: int = 1000,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Read rows `size` at a time, by a cursor of this transaction, which may be used meanwhile."""
        self._check_open()
        async with self._lock:
            conn = await self._connection()
            converted, transformer = convert(conn, query, params)
            check_reads(converted.query)
            self._cursors += 1
            name = b"mtenant_%d" % self._cursors
            declare = Text(
                b"DECLARE " + name + b" NO SCROLL CURSOR FOR " + converted.query,
                converted.params,
                converted.types,
                converted.formats,
            )
            fetch = Text(b"FETCH FORWARD %d FROM %b" % (size, name))
            text = text_of(query, converted.query)
            results, _ = await self._unit.send(conn, "select", text, [declare, fetch], writes=False)
        try:
            yield self._rows(
                text, fetch, results[1], size, partial(load, conn, transformer, row=row)
            )
        finally:
            # It would end with the transaction anyway, so that this need not arrive by itself.
            self._unit.pending.append(Text(b"CLOSE " + name))

    async def _rows(
        self,
        text: str,
        fetch: Text,
        result: PGresult,
        size: int,
        load_rows: Callable[[PGresult], list[Any]],
    ) -> AsyncIterator[Any]:
        while True:
            for made in load_rows(result):
                yield made
            if result.ntuples < size:
                return
            self._check_open()
            async with self._lock:
                conn = await self._connection()
                results, _ = await self._unit.send(conn, "select", text, [fetch], writes=False)
            result = results[0]

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None
    ) -> AsyncIterator[AsyncCopy]:
        """COPY to or from the program; the block uses psycopg's `AsyncCopy`, and nothing else of this.

        ```python
        async with tx.copy("copy contacts (id, name) from stdin") as copy:
            await copy.write_row((1, "Ada"))
        ```
        """
        self._check_open()
        async with self._lock:
            conn = await self._connection()
            converted, _ = convert(conn, statement, None)
            check_copies(converted.query)
            await self._unit.send(conn, "begin", "BEGIN", [], writes=False)
            text = text_of(statement, converted.query)
            self._copier = asyncio.current_task()
            try:
                with self._engine.observed("exec", text, self.tenant):
                    async with conn.cursor().copy(statement, params) as copy:
                        yield copy
            finally:
                self._copier = None

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        self._check_open()
        async with self._lock:
            conn = await self._connection()
            result, transformer, _ = await self._statement(conn, "select", query, params)
            check_most(result.ntuples, most)
            return load(conn, transformer, result, row)

    async def _statement(
        self, conn: Connection, operation: Operation, query: Query, params: Params | None
    ) -> tuple[PGresult, Transformer, float]:
        converted, transformer = convert(conn, query, params)
        results, duration = await self._unit.send(
            conn,
            operation,
            text_of(query, converted.query),
            [converted],
            writes=kind_of(converted.query) is Kind.WRITE,
        )
        return results[0], transformer, duration

    async def _connection(self) -> Connection:
        self._check_open()
        return await self._unit.connection()

    def _check_open(self) -> None:
        if self._state != "open":
            raise TransactionOpen(
                internal=f"the transaction is {self._state}: use it inside its `async with` block"
            )
        if self._spoiled:
            raise TransactionAborted(internal="tx.transaction() blocks of several tasks overlapped")
        if self._copier is not None and self._copier is asyncio.current_task():
            # It would wait for the end of its own COPY.
            raise TransactionOpen(internal="a statement inside tx.copy(): end the block before it")

    def _check_nesting(self, depth: int) -> None:
        if self._depth != depth:
            # Which savepoint is whose cannot be said any more: the whole transaction goes.
            self._spoiled = True
            raise TransactionOpen(internal="tx.transaction() blocks of several tasks overlap")
        if self._unit.failed:
            raise TransactionAborted(internal="an error inside tx.transaction() was caught")

    def _withdraw(self, savepoint: Text) -> bool:
        # One that was never sent needs no end either, and what was nested in it neither.
        for place, message in enumerate(self._unit.pending):
            if message is savepoint:
                del self._unit.pending[place:]
                return True
        return False
