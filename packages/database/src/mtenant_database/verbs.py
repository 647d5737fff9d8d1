"""The verbs that handles and transactions share: fetch and execute, in terms of one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from psycopg.abc import Params, Query

from mtenant_database.errors import MultipleRows, RowNotFound
from mtenant_database.rows import RowShape

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """What a statement did.

    Attributes:
        rows_affected: How many rows it inserted, updated, deleted, merged or selected.
        duration: How long it took, in seconds, from sending to the last answer.
    """

    rows_affected: int
    duration: float


class Verbs(ABC):
    """Sends statements. Parameters are `%s` with a sequence or `%(name)s` with a mapping.

    `row` says what a row becomes: a tuple without it; an instance of a class, called with the columns by
    name (a dataclass, `dict`); or what a row factory of `psycopg.rows` makes.
    """

    __slots__ = ()

    @abstractmethod
    async def _fetch(
        self, query: Query, params: Params | None, row: RowShape[Any] | None, most: int | None
    ) -> list[Any]:
        """Return the rows; more than `most` of them is `MultipleRows`."""

    @abstractmethod
    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Send a statement whose rows, if any, are not wanted.

        Raises:
            AppError: By the table of `mtenant_database.sqlstate`.
        """

    @overload
    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> list[T]: ...
    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: RowShape[Any] | None = None
    ) -> list[Any]:
        """Return all rows; use `stream` for more than fit into memory."""
        return await self._fetch(query, params, row, None)

    @overload
    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> tuple[Any, ...]: ...
    @overload
    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> T: ...
    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: RowShape[Any] | None = None
    ) -> Any:
        """Return the only row.

        Raises:
            RowNotFound: There is none.
            MultipleRows: There are several.
        """
        rows = await self._fetch(query, params, row, 1)
        if not rows:
            raise RowNotFound
        return rows[0]

    @overload
    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: None = None
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: RowShape[T]
    ) -> T | None: ...
    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: RowShape[Any] | None = None
    ) -> Any:
        """Return the only row, or None.

        Raises:
            MultipleRows: There are several.
        """
        rows = await self._fetch(query, params, row, 1)
        return rows[0] if rows else None

    async def fetch_value(self, query: Query, params: Params | None = None) -> Any:
        """Return the first column of the only row.

        Raises:
            RowNotFound: There is no row.
            MultipleRows: There are several.
        """
        return (await self.fetch_one(query, params))[0]


def check_most(found: int, most: int | None) -> None:
    """Refuse more rows than were asked for.

    Raises:
        MultipleRows: There are more.
    """
    if most is not None and found > most:
        raise MultipleRows(
            internal=f"{found} rows for a call that returns one: LIMIT it, or fetch_all"
        )
