"""From a result to rows: tuples, instances of a class, or what a psycopg row factory makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult
from psycopg.rows import BaseRowFactory

T = TypeVar("T")
RowShape: TypeAlias = type[T] | BaseRowFactory[T]
"""A class, called with the columns by name, or a row factory of psycopg (`psycopg.rows`)."""


def load(
    conn: AsyncConnection[Any],
    transformer: Transformer,
    result: PGresult,
    row: RowShape[Any] | None,
) -> list[Any]:
    """Return all rows of a result."""
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, _maker(conn, transformer, result, row))


def factory(row: RowShape[Any] | None) -> BaseRowFactory[Any]:
    """Return the row factory for a psycopg cursor that makes the same rows as `load`."""

    def make(cursor: Any) -> Callable[[Sequence[Any]], Any]:
        result = cursor.pgresult
        if result is None:
            return tuple  # psycopg asks before there is a result, and never uses the answer
        return _shape(row, result, cursor.connection.info.encoding, lambda: cursor)

    return make


def _maker(
    conn: AsyncConnection[Any],
    transformer: Transformer,
    result: PGresult,
    row: RowShape[Any] | None,
) -> Callable[[Sequence[Any]], Any]:
    def cursor() -> AsyncCursor[Any]:
        # A row factory reads columns from a cursor; this one has executed nothing.
        holder = AsyncCursor(conn)
        holder.pgresult = result
        return holder

    return _shape(row, result, transformer.encoding, cursor)


def _shape(
    row: RowShape[Any] | None,
    result: PGresult,
    encoding: str,
    cursor: Callable[[], AsyncCursor[Any]],
) -> Callable[[Sequence[Any]], Any]:
    if row is None or row is tuple:
        return tuple
    if not isinstance(row, type):
        return row(cursor())
    names = [(result.fname(i) or b"").decode(encoding) for i in range(result.nfields)]

    def make(values: Sequence[Any]) -> Any:
        return row(**dict(zip(names, values, strict=True)))

    return make
