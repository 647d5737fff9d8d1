"""What the pool knows about one connection, and whether its `search_path` is still the first one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from mtenant_database.loan import Loan

_SAMPLE: Final = 10
_SEARCH_PATH: Final = b"search_path"
_KEY: Final = "_mtenant_record"


@dataclass(slots=True, eq=False)
class Record:
    """What the pool knows about one connection.

    Attributes:
        path: Its `search_path` when it was new.
        pooled: It lies in the pool.
        idle_since: When it was last handed over, on the monotonic clock.
        returns: How often it came back.
        loan: The current loan, or the last one until it is handed over.
        release: The task that makes it ready for the next loan.
        leaked: It came back with another path.
    """

    path: bytes | None
    pooled: bool = False
    idle_since: float = 0.0
    returns: int = 0
    loan: Loan | None = None
    release: asyncio.Task[None] | None = None
    leaked: bool = False


def set_record(conn: AsyncConnection[Any], record: Record) -> None:
    """Keep the record on the connection, as psycopg_pool keeps its own marks, for as long as it is.

    A mapping of weak references would cost more than the rest of a loan.
    """
    conn.__dict__[_KEY] = record


def record_of(conn: AsyncConnection[Any]) -> Record:
    """Return the connection's record."""
    record: Record = conn.__dict__[_KEY]
    return record


def may_have_strayed(conn: AsyncConnection[Any], record: Record) -> bool:
    """Tell, without asking the server, whether the path may be another than the first one.

    PostgreSQL 18 reports each change of it (manual, 54.2.7); for older servers every tenth return
    is one to ask at.
    """
    reported = conn.pgconn.parameter_status(_SEARCH_PATH)
    if reported is None:
        return record.returns % _SAMPLE == 0
    return reported != record.path


async def path_of(conn: AsyncConnection[Any]) -> bytes:
    """Return the connection's `search_path`; costs a round trip where the server does not report it.

    The connection must be outside a transaction, and is afterwards.
    """
    reported = conn.pgconn.parameter_status(_SEARCH_PATH)
    if reported is not None:
        return reported
    cursor = conn.cursor(row_factory=tuple_row)
    await cursor.execute("show search_path", prepare=False)
    if not conn.autocommit:
        await conn.rollback()
    row = cursor.pgresult
    return (row and row.get_value(0, 0)) or b""
