"""Handles: what a program holds instead of a connection. A tenant's sees that tenant and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast, overload

from psycopg import AsyncCopy, OperationalError
from psycopg._queries import PostgresQuery
from psycopg.abc import Params, Query
from psycopg.pq.abc import PGresult

from mtenant_database import retry as retrying
from mtenant_database.diagnosis import diagnose
from mtenant_database.engine import Connection, Engine, Fault, lost, rows_of
from mtenant_database.errors import CommitUnknown, ReadOnlyDatabase
from mtenant_database.flush import Messages
from mtenant_database.rows import RowShape, load
from mtenant_database.scope import Target
from mtenant_database.sqlstate import translate
from mtenant_database.statement import Kind, convert, deletes, kind_of, text_of
from mtenant_database.transaction import Transaction
from mtenant_database.unit import Isolation, Options, options
from mtenant_database.verbs import ExecuteResult, Verbs, check_most
from mtenant_errors import AppError

T = TypeVar("T")
P = ParamSpec("P")

_READ_ONLY: Final = "25006"
_STALE_PLAN: Final = "0A000"  # what was prepared returns other columns now


class Handle(Verbs):
    """Statements outside of a transaction, each in one of its own, in one round trip.

    It holds no connection and no state: share it between tasks, keep it, throw it away. A read is
    sent as read-only; one that turns out to write (25006, and then it did nothing) is sent again as
    a write. A call in a task that holds an open transaction is an error, since it would not be
    part of it.
    """

    __slots__ = ("_engine", "_scope_params", "_target", "_timeout")

    def __init__(self, engine: Engine, target: Target | None, timeout: float) -> None:
        self._engine = engine
        self._target = target
        self._timeout = timeout
        self._scope_params = target.encoded(timeout) if target is not None else ()

    @property
    def _tenant(self) -> str | None:
        return self._target.tenant if self._target else None

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        deferrable: bool = False,
        timeout: float | None = None,
    ) -> Transaction:
        """Return a transaction to enter: `async with handle.transaction() as tx`.

        BEGIN, the scope and the first statement are one round trip, COMMIT another. An exception that
        leaves the block rolls back.

        Args:
            isolation: The server's default without it.
            read_only: Whether it may write nothing.
            deferrable: Whether a serializable read-only transaction waits for a snapshot that
                cannot fail (manual, 13.2.3).
            timeout: Seconds for the whole of it, kept by the server: `transaction_timeout` from
                PostgreSQL 17 on; before, each statement and each pause in between.
        """
        how = options(isolation, read_only, deferrable, timeout)
        return Transaction(self._engine, self._target, self._timeout, how)

    async def run(
        self,
        function: Callable[Concatenate[Transaction, ...], Awaitable[T]],
        *args: Any,
        retry: int = 3,
        isolation: Isolation | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server keeps it
    ) -> T:
        """Return what `function(tx, *args)` returns, run in a transaction that is committed.

        On a serialization failure or a deadlock (40001, 40P01) the whole of it runs again, so the function
        must have no effect outside of the transaction.

        Args:
            function: What to run.
            *args: Its arguments after the transaction.
            retry: How often it may run again; 0 is not at all.
            isolation: As for `transaction`.
            timeout: As for `transaction`, for each attempt.

        Raises:
            SerializationConflict: The last attempt failed too.
        """
        begin = partial(self.transaction, isolation=isolation, timeout=timeout)
        return await retrying.run(begin, function, args, retry)

    def attempts(self, most: int) -> AsyncIterator[retrying.Attempt]:
        """Return attempts, for a block that cannot be a function.

        ```python
        async for attempt in acme.attempts(3):
            with attempt:
                async with acme.transaction(isolation="serializable") as tx:
                    ...
        ```

        Args:
            most: How many in all.
        """
        return retrying.attempts(most)

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Send a statement as a write: BEGIN, scope, statement and COMMIT in one round trip.

        Raises:
            CommitUnknown: The connection was lost, and the statement may have taken effect.
            AppError: By the table of `mtenant_database.sqlstate`.
        """
        self._engine.holders.check_free(self._tenant)
        async with self._engine.connection(self._tenant) as conn:
            converted, _ = convert(conn, query, params)
            if kind_of(converted.query) is Kind.SETTING:
                raise ValueError("SET LOCAL ends with the statement here: use a transaction")
            result, duration = await self._write(conn, text_of(query, converted.query), converted)
            return ExecuteResult(rows_of(result), duration)

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Send a statement once for each row of parameters, all in one transaction.

        A thousand rows are one round trip, and the statement is parsed once for rows of equal types.
        """
        async with self.transaction() as tx:
            return await tx.execute_many(query, rows)

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
        """Read rows `size` at a time, by a cursor in a read-only transaction.

        ```python
        async with acme.stream("select id, name from contacts", row=Contact) as contacts:
            async for contact in contacts: ...
        ```

        The handle may be used while it is open; that takes a second connection.
        """
        self._engine.holders.check_free(self._tenant)
        async with AsyncExitStack() as stack:
            yield await self._open_stream(stack, query, params, row, size)

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None
    ) -> AsyncIterator[AsyncCopy]:
        """COPY to or from the program, in a transaction; the block uses psycopg's `AsyncCopy`.

        ```python
        async with acme.copy("copy contacts (id, name) from stdin") as copy:
            await copy.write_row((1, "Ada"))
        ```
        """
        self._engine.holders.check_free(self._tenant)
        tx = Transaction(self._engine, self._target, self._timeout, Options(), holds=False)
        async with tx, tx.copy(statement, params) as copy:
            yield copy

    async def _open_stream(
        self,
        stack: AsyncExitStack,
        query: Query,
        params: Params | None,
        row: RowShape[Any] | None,
        size: int,
    ) -> AsyncIterator[Any]:
        how = Options(read_only=True)
        tx = Transaction(self._engine, self._target, self._timeout, how, holds=False)
        await stack.enter_async_context(tx)
        rows = tx.stream(query, params, row=cast("Any", row), size=size)
        return cast("AsyncIterator[Any]", await stack.enter_async_context(rows))

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        self._engine.holders.check_free(self._tenant)
        engine = self._engine
        conn = await engine.borrow(self._tenant)
        try:
            converted, transformer = convert(conn, query, params)
            text = text_of(query, converted.query)
            result = None
            if kind_of(converted.query) is Kind.READ and converted.query not in engine.writers:
                result = await self._read(conn, text, converted)
            if result is None:
                if engine.standby:
                    raise ReadOnlyDatabase(internal="the statement writes, and this is a replica")
                result, _ = await self._write(conn, text, converted)
            check_most(result.ntuples, most)
            return load(conn, transformer, result, row)
        finally:
            await engine.release(conn)

    async def _read(self, conn: Connection, text: str, converted: PostgresQuery) -> PGresult | None:
        """Return the result, or None if the statement has to be sent as a write; it did nothing."""
        engine, target = self._engine, self._target
        prepared = engine.prepared.get(conn) if target is None else None
        if target is not None:
            scope = engine.own.read_scope(self._scope_params)
            messages: Messages = [scope, converted]
        elif prepared is not None:
            messages = prepared.messages(converted)
        else:
            messages = [converted]
        place = len(messages) - 1
        try:
            results, fault, _ = await engine.send(
                conn,
                messages,
                ends=True,
                operation="select",
                statement=text,
                tenant=self._tenant,
                place=place,
            )
        except OperationalError as exc:
            error = lost(exc, writes=False)
            # Without a scope it was not sent as read-only: it may have been a function that writes.
            error.retryable = target is not None
            raise error from exc
        if fault is None:
            if prepared is not None:
                prepared.sent(converted, messages)
            return results[place]
        if prepared is not None and fault.sqlstate == _STALE_PLAN and prepared.forget(converted):
            return None
        if fault.sqlstate == _READ_ONLY and fault.place == place and target is not None:
            engine.remember_writer(converted.query)
            return None
        raise await self._error(conn, fault, place, converted.query)

    async def _write(
        self, conn: Connection, text: str, converted: PostgresQuery
    ) -> tuple[PGresult, float]:
        engine, target = self._engine, self._target
        messages: Messages = [converted]
        place = 0
        if target is not None:
            scope = engine.own.write_scope(self._scope_params)
            messages = [
                engine.own.begin,
                scope,
                converted,
                engine.own.commit,
                *engine.ask_position(),
            ]
            place = 2
        try:
            results, fault, duration = await engine.send(
                conn,
                messages,
                ends=True,
                operation="exec",
                statement=text,
                tenant=self._tenant,
                place=place,
            )
        except OperationalError as exc:
            engine.tell_commit(self._tenant, ())
            raise lost(exc, writes=True) from exc
        if fault is None or (fault.place > place + 1 and not fault.closed):
            # Behind the COMMIT is only the question where the log is.
            engine.tell_commit(self._tenant, results)
            return results[place], duration
        raise await self._error(conn, fault, place, converted.query)

    async def _error(self, conn: Connection, fault: Fault, place: int, query: bytes) -> AppError:
        error: AppError
        if fault.place < place and self._target is not None:
            error = self._engine.scope_error(fault, self._target)
        elif fault.place > place and fault.closed:
            # The server went away between the statement and its answer to COMMIT.
            self._engine.tell_commit(self._tenant, ())
            error = CommitUnknown(internal=str(fault.error))
        else:
            error = translate(fault.error, deletes=deletes(query))
            if self._tenant is not None:
                error = await diagnose(conn, self._tenant, error, self._engine.needs)
        if error.__cause__ is None:
            error.__cause__ = fault.error
        return error


class Tenant(Handle):
    """The handle of one tenant."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The tenant's id."""
        return self._tenant or ""

    def __repr__(self) -> str:
        return f"<Tenant {self.id}>"
