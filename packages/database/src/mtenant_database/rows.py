"""From a result to rows: tuples, instances of a class, or what a psycopg row factory makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.abc import Transformer
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


def _maker(
    conn: AsyncConnection[Any],
    transformer: Transformer,
    result: PGresult,
    row: RowShape[Any] | None,
) -> Callable[[Sequence[Any]], Any]:
    if row is None or row is tuple:
        return tuple
    if not isinstance(row, type):
        # A row factory reads the columns from a cursor; this one has executed nothing.
        cursor = AsyncCursor(conn)
        cursor.pgresult = result
        return row(cursor)
    encoding = transformer.encoding
    names = [(result.fname(column) or b"").decode(encoding) for column in range(result.nfields)]

    def make(values: Sequence[Any]) -> Any:
        return row(**dict(zip(names, values, strict=True)))

    return make
