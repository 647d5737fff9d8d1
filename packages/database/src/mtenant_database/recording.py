"""A database that only records what it is asked, for tests of code that works with one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, Literal, Self, TypeVar

from psycopg.abc import Params, Query
from psycopg.sql import Composable

from mtenant_database import retry as retrying
from mtenant_database.errors import TransactionAborted, TransactionOpen
from mtenant_database.holders import Holders
from mtenant_database.rows import RowShape
from mtenant_database.statement import Kind, check_reads, kind_of
from mtenant_database.tenant_id import check_tenant_id
from mtenant_database.verbs import ExecuteResult, Verbs, check_most

T = TypeVar("T")
Outcome = Literal["open", "committed", "rolled back"]


@dataclass(eq=False)
class Recorded:
    """One statement that a program sent.

    Attributes:
        tenant: The tenant's id; None without one.
        statement: The text, with one space for any white space.
        params: The parameters.
        outcome: What became of it.
    """

    tenant: str | None
    statement: str
    params: Params | None
    outcome: Outcome = "open"


@dataclass(frozen=True)
class _Answer:
    rows: Sequence[Mapping[str, Any]]
    affected: int
    error: Exception | None


class RecordingDatabase(Verbs):
    """Stands in for a `Database`: records every statement, and answers what it was told to.

    ```python
    db = RecordingDatabase()
    db.on("select id, name from contacts where id = %s", rows=[{"id": 7, "name": "Ada"}])
    await program(db.tenant("acme"))
    assert [(r.tenant, r.outcome) for r in db.recorded] == [("acme", "committed")]
    ```

    A fetch of which nothing was said is an `AssertionError`; an `execute` affects one row. There is
    no `copy` and no `connection`: those want the real thing.

    Attributes:
        recorded: Every statement, in order.
    """

    def __init__(self) -> None:
        self.recorded: list[Recorded] = []
        self._answers: dict[tuple[str | None, str], _Answer] = {}
        self._holders = Holders()

    def on(
        self,
        query: Query,
        *,
        rows: Sequence[Mapping[str, Any]] = (),
        affected: int | None = None,
        error: Exception | None = None,
        tenant: str | None = None,
    ) -> None:
        """Say what a statement answers from now on.

        Args:
            query: Its text; white space does not count.
            rows: The rows, with their columns in order.
            affected: What `execute` tells; the number of rows, or 1 without any.
            error: What it raises instead.
            tenant: For which tenant; for all, unless something was said for one.
        """
        count = affected if affected is not None else len(rows) or 1
        self._answers[tenant, _text(query)] = _Answer(rows, count, error)

    def tenant(self, tenant: str, *, timeout: float | None = None) -> RecordingTenant:
        """Return the handle of a tenant."""
        return RecordingTenant(self, check_tenant_id(tenant))

    def shared(self) -> RecordingHandle:
        """Return the handle of the shared schemas."""
        return RecordingHandle(self, None)

    def transaction(self, **options: Any) -> RecordingTransaction:
        """Return a transaction without a tenant."""
        return RecordingTransaction(self, None)

    async def connect(self) -> None:
        """Do nothing."""

    async def close(self, timeout: float = 0.0) -> None:  # noqa: ASYNC109 - as Database has it
        """Do nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Record a statement without a tenant."""
        return await self.shared().execute(query, params)

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Record a statement without a tenant, once for each row of parameters."""
        return await self.shared().execute_many(query, rows)

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        return await self.shared()._fetch(query, params, row, most)

    def _answer(
        self, tenant: str | None, query: Query, params: Params | None
    ) -> tuple[Recorded, _Answer | None]:
        text = _text(query)
        record = Recorded(tenant, text, params)
        self.recorded.append(record)
        answer = self._answers.get((tenant, text)) or self._answers.get((None, text))
        return record, answer


class RecordingHandle(Verbs):
    """Stands in for a handle."""

    def __init__(self, database: RecordingDatabase, tenant: str | None) -> None:
        self._database = database
        self._tenant = tenant

    def transaction(self, **options: Any) -> RecordingTransaction:
        """Return a transaction to enter."""
        return RecordingTransaction(self._database, self._tenant)

    async def run(
        self,
        function: Callable[Concatenate[Any, ...], Awaitable[T]],
        *args: Any,
        retry: int = 3,
        **options: Any,
    ) -> T:
        """Run a function in a transaction, again after a `SerializationConflict`."""
        return await retrying.run(self.transaction, function, args, retry)

    def attempts(self, most: int) -> AsyncIterator[retrying.Attempt]:
        """Return attempts."""
        return retrying.attempts(most)

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Record a statement."""
        self._database._holders.check_free(self._tenant)
        if _kind(query) is Kind.SETTING:
            raise ValueError("SET LOCAL ends with the statement here: use a transaction")
        return _executed(*self._sent(query, params))

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Record a statement once for each row of parameters."""
        async with self.transaction() as tx:
            return await tx.execute_many(query, rows)

    @asynccontextmanager
    async def stream(
        self,
        query: Query,
        params: Params | None = None,
        *,
        row: RowShape[Any] | None = None,
        size: int = 1000,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Answer the rows one after another."""
        check_reads(_bytes(query))
        yield _each(await self._fetch(query, params, row, None))

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        self._database._holders.check_free(self._tenant)
        _kind(query)
        record, answer = self._sent(query, params)
        return _fetched(record, answer, row, most)

    def _sent(self, query: Query, params: Params | None) -> tuple[Recorded, _Answer | None]:
        record, answer = self._database._answer(self._tenant, query, params)
        failed = answer is not None and answer.error is not None
        record.outcome = "rolled back" if failed else "committed"
        return record, answer


class RecordingTenant(RecordingHandle):
    """Stands in for the handle of a tenant."""

    @property
    def id(self) -> str:
        """The tenant's id."""
        return self._tenant or ""


class RecordingTransaction(Verbs):
    """Stands in for a transaction; its statements get their outcome when it ends."""

    def __init__(self, database: RecordingDatabase, tenant: str | None) -> None:
        self._database = database
        self._tenant = tenant
        self._state: Literal["new", "open", "over"] = "new"
        self._holder: asyncio.Task[Any] | None = None
        self._records: list[Recorded] = []
        self._on_commit: list[Callable[[], object]] = []
        self._failed = False
        self._late: Exception | None = None

    @property
    def tenant(self) -> str | None:
        """The tenant's id; None without a tenant."""
        return self._tenant

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            TransactionOpen: As of a real one.
        """
        if self._state != "new":
            raise TransactionOpen(internal="a transaction object is entered once")
        self._holder = self._database._holders.hold(self)
        self._state = "open"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state = "over"
        self._database._holders.let_go(self._holder)
        late = self._late if exc is None and not self._failed else None
        self._end(self._records, "rolled back" if exc or late or self._failed else "committed")
        if late is not None:
            raise late
        if self._failed and exc is None:
            raise TransactionAborted(internal="an error inside the transaction was caught")
        if exc is None:
            for function in self._on_commit:
                function()

    def on_commit(self, function: Callable[[], object]) -> None:
        """Call a function at the end, if that is a commit; what it raises is the test's to see."""
        self._check_open()
        self._on_commit.append(function)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Nest: what an exception leaves is rolled back alone."""
        self._check_open()
        before, registered = len(self._records), len(self._on_commit)
        try:
            yield self
            self._check_alive()
            self._raise_late()
        except BaseException:
            self._failed, self._late = False, None
            del self._on_commit[registered:]
            self._end(self._records[before:], "rolled back")
            raise

    async def lock(self, name: str) -> None:
        """Record that a lock was taken."""
        self._check_open()
        record, _ = self._database._answer(self._tenant, "lock", [name])
        self._records.append(record)

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Record a statement."""
        _kind(query)
        return _executed(*self._sent(query, params))

    async def queue(self, query: Query, params: Params | None = None) -> None:
        """Record a statement; an error of it is raised by the next one, or at the end."""
        _kind(query)
        _, answer = self._asked(query, params)
        if answer is not None and self._late is None:
            self._late = answer.error

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Record a statement once for each row of parameters."""
        results = [await self.execute(query, row) for row in rows]
        return ExecuteResult(sum(result.rows_affected for result in results), 0.0)

    @asynccontextmanager
    async def stream(
        self,
        query: Query,
        params: Params | None = None,
        *,
        row: RowShape[Any] | None = None,
        size: int = 1000,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Answer the rows one after another."""
        check_reads(_bytes(query))
        yield _each(await self._fetch(query, params, row, None))

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        _kind(query)
        return _fetched(*self._sent(query, params), row, most)

    def _sent(self, query: Query, params: Params | None) -> tuple[Recorded, _Answer | None]:
        record, answer = self._asked(query, params)
        self._raise_late()
        self._failed = answer is not None and answer.error is not None
        return record, answer

    def _asked(self, query: Query, params: Params | None) -> tuple[Recorded, _Answer | None]:
        self._check_open()
        self._check_alive()
        record, answer = self._database._answer(self._tenant, query, params)
        self._records.append(record)
        return record, answer

    def _raise_late(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            self._failed = True
            raise late

    def _check_open(self) -> None:
        if self._state != "open":
            raise TransactionOpen(internal=f"the transaction is {self._state}")

    def _check_alive(self) -> None:
        if self._failed:
            raise TransactionAborted(internal="an error inside the transaction was caught")

    def _end(self, records: Iterable[Recorded], outcome: Outcome) -> None:
        for record in records:
            if record.outcome == "open":
                record.outcome = outcome


def _bytes(query: Query) -> bytes:
    if isinstance(query, bytes):
        return query
    if isinstance(query, Composable):
        return query.as_bytes(None)
    return str(query).encode()


def _text(query: Query) -> str:
    return " ".join(_bytes(query).decode().split())


def _kind(query: Query) -> Kind:
    return kind_of(_bytes(query))


def _executed(record: Recorded, answer: _Answer | None) -> ExecuteResult:
    if answer is not None and answer.error is not None:
        raise answer.error
    return ExecuteResult(1 if answer is None else answer.affected, 0.0)


def _fetched(
    record: Recorded, answer: _Answer | None, row: RowShape[Any] | None, most: int | None
) -> list[Any]:
    if answer is None:
        raise AssertionError(f"nothing was said about: {record.statement}; use on(...)")
    if answer.error is not None:
        raise answer.error
    check_most(len(answer.rows), most)
    if row is None or row is tuple:
        return [tuple(values.values()) for values in answer.rows]
    if isinstance(row, type):
        return [row(**values) for values in answer.rows]
    raise TypeError("the fake makes tuples and instances of a class, and knows no row factories")


async def _each(rows: Sequence[Any]) -> AsyncIterator[Any]:
    for row in rows:
        yield row
