"""Handles whose reads go to replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.abc import Params, Query

from mtenant_database.engine import Engine
from mtenant_database.errors import (
    DatabaseUnavailable,
    PermissionDenied,
    PoolExhausted,
    ReadOnlyDatabase,
    SerializationConflict,
    StatementFault,
    TenantNotFound,
    TenantNotReady,
    TenantSuspended,
)
from mtenant_database.rows import RowShape
from mtenant_database.scope import Target
from mtenant_database.statement import Kind, kind_of
from mtenant_database.tenant import Handle, Tenant

if TYPE_CHECKING:
    from mtenant_database.routing.router import ReadWriteRouter

# What a replica says because it is away, behind, or in the middle of replaying something (40001); of these the
# primary has the last word.
_NOT_THE_LAST_WORD: Final = (
    DatabaseUnavailable,
    PermissionDenied,
    PoolExhausted,
    ReadOnlyDatabase,
    SerializationConflict,
    StatementFault,
    TenantNotFound,
    TenantNotReady,
    TenantSuspended,
)


class RoutedHandle(Handle):
    """A handle whose reads (`fetch_*`, `stream`) go to a replica that has what the tenant wrote.

    Where there is none, and where a replica's answer may be due to its being behind, the primary
    answers. Everything else is the primary's: `execute`, `copy`, and each transaction, so that
    what is read there and written back is current.
    """

    __slots__ = ("_after", "_router")

    def __init__(
        self, router: ReadWriteRouter, engine: Engine, target: Target, timeout: float, after: int
    ) -> None:
        super().__init__(engine, target, timeout)
        self._router = router
        self._after = after

    async def token(self) -> str | None:
        """Return the position that a replica must have to know all that was written by this tenant.

        Hand it to who reads next (in a cookie, or a message) for `router.tenant(..., after=token)` in
        another process. It is no secret; one that is made up only sends its own reads to the primary.

        Returns:
            Such as `16/B374D848`; None if this router has seen no write of the tenant.

        Raises:
            DatabaseUnavailable: The position of the last write is not known, and the primary cannot be
                asked.
        """
        return await self._router.token_of(self._tenant, self._after)

    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        self._engine.holders.check_free(self._tenant)
        if _may_read(query) and (replica := self._replica()) is not None:
            try:
                return await replica._fetch(query, params, row, most)
            except _NOT_THE_LAST_WORD:
                pass
        return await super()._fetch(query, params, row, most)

    async def _open_stream(
        self,
        stack: AsyncExitStack,
        query: Query,
        params: Params | None,
        row: RowShape[Any] | None,
        size: int,
    ) -> AsyncIterator[Any]:
        if (replica := self._replica()) is not None:
            try:
                async with AsyncExitStack() as own:
                    rows = await replica._open_stream(own, query, params, row, size)
                    stack.push_async_exit(own.pop_all())
                    return rows
            except _NOT_THE_LAST_WORD:
                pass
        return await super()._open_stream(stack, query, params, row, size)

    def _replica(self) -> Handle | None:
        engine = self._router.engine_for(self._tenant, self._after)
        return None if engine is None else Handle(engine, self._target, self._timeout)


class RoutedTenant(RoutedHandle, Tenant):
    """The handle of one tenant."""

    __slots__ = ()


def _may_read(query: Query) -> bool:
    if isinstance(query, str):
        text = query.encode()
    elif isinstance(query, bytes):
        text = query
    elif isinstance(query, sql.Composable):
        text = query.as_bytes(None)
    else:  # a template: the replica will find out
        return True
    return kind_of(text) is Kind.READ
