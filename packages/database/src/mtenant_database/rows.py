"""From a result to rows: tuples, instances of a class, or what a psycopg row factory makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import FunctionType
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
    columns = tuple([result.fname(column) or b"" for column in range(result.nfields)])
    return _by_columns(row, columns, transformer.encoding)  # type: ignore[arg-type]  # hashable


@lru_cache(512)
def _by_columns(
    row: type, columns: tuple[bytes, ...], encoding: str
) -> Callable[[Sequence[Any]], Any]:
    names = tuple([column.decode(encoding) for column in columns])
    if _takes_in_order(row, names):
        return lambda values: row(*values)
    return lambda values: row(**dict(zip(names, values, strict=True)))


def _takes_in_order(row: type, names: tuple[str, ...]) -> bool:
    """Tell whether the values alone, which is quicker, do the same as each by its name.

    It is so where an `__init__` in Python, and nothing else, is called: as in most dataclasses.
    """
    init = vars(row).get("__init__")
    usual: list[object] = [object.__new__, type.__call__]
    if not isinstance(init, FunctionType) or [row.__new__, type(row).__call__] != usual:
        return False
    code = init.__code__
    return not code.co_posonlyargcount and code.co_varnames[1 : code.co_argcount] == names
