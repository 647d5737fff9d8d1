"""What code that works with a database may ask for, whoever answers: a handle, a transaction, a fake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, Protocol, TypeVar, overload

from psycopg.abc import Params, Query

from mtenant_database.rows import RowShape
from mtenant_database.verbs import ExecuteResult

T = TypeVar("T")


class Statements(Protocol):
    """Sends statements: a handle, a transaction, and the fakes of both."""

    @overload
    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> list[T]: ...

    @overload
    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> tuple[Any, ...]: ...
    @overload
    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> T: ...

    @overload
    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> T | None: ...

    async def fetch_value(self, query: Query, params: Params | None = None) -> Any:
        """Return the first column of the only row."""
        ...

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Send a statement whose rows are not wanted."""
        ...

    async def execute_many(self, query: Query, rows: Iterable[Params]) -> ExecuteResult:
        """Send a statement once for each row of parameters."""
        ...


class TransactionLike(Statements, Protocol):
    """An open transaction."""

    @property
    def tenant(self) -> str | None:
        """The tenant's id; None without a tenant."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[TransactionLike]:
        """Nest."""
        ...

    async def lock(self, name: str) -> None:
        """Wait for a lock of that name."""
        ...


class TenantLike(Statements, Protocol):
    """The handle of a tenant."""

    @property
    def id(self) -> str:
        """The tenant's id."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[TransactionLike]:
        """Return a transaction to enter."""
        ...

    async def run(
        self, function: Callable[Concatenate[Any, ...], Awaitable[T]], *args: Any, retry: int = 3
    ) -> T:
        """Run a function in a transaction, again after a conflict."""
        ...


class TenantSource(Protocol):
    """Where handles come from: `Database`, or `testing.RecordingDatabase`."""

    def tenant(self, tenant: str) -> Any:
        """Return the handle of a tenant."""
        ...
