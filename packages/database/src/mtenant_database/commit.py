"""The outcome of a COMMIT whose answer was lost, asked from the server by the transaction's id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg

from mtenant_database.errors import CommitUnknown, DatabaseUnavailable
from mtenant_errors import AppError

if TYPE_CHECKING:
    from mtenant_database.engine import Connection, Engine

# An id says nothing on another server, and after a failover it may be given out again there: the
# system identifier and the timeline must be those under which it was given. After a crash it may be given
# out again on the same server, if nothing of its transaction had reached the disk. What tells a crash from a
# restart in good order is that the statistics begin anew (manual, 27.2.2); if somebody resets them, a
# commit is called unknown that need not be.
IDENTITY: Final = (
    "(select case when not pg_is_in_recovery() then system_identifier || '/'"
    " || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/'"
    " || coalesce((select extract(epoch from stats_reset) from pg_stat_bgwriter), 0) end"
    " from pg_control_system())"
)
XID: Final = b"select pg_current_xact_id_if_assigned()::text"
XID_AND_IDENTITY: Final = XID + b", " + IDENTITY.encode()
_STATUS: Final = f"select {IDENTITY}, pg_xact_status(%s::text::xid8)"
_NEVER: Final = f"select {IDENTITY}, 'aborted'"
_UNKNOWN: Final = {
    "elsewhere": "was on another server or timeline",
    "ambiguous": "was before a crash, and its id may have been given to another one since",
    "unknown": "is too old to be known",
}
_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.5


class CommitLost(Exception):
    """COMMIT was sent, and the connection lost before its answer. It never leaves the package."""

    def __init__(self, xid: str | None, identity: str | None, cause: Exception) -> None:
        super().__init__(str(cause))
        self.xid = xid
        self.identity = identity
        self.cause = cause


async def resolve(engine: Engine, lost: CommitLost) -> None:
    """Return if the transaction was committed.

    It may still be in progress: a server notices a lost client late. It is then asked again, until
    `engine.resolve_within` seconds have passed.

    Raises:
        DatabaseUnavailable: It was not committed, and never will be.
        CommitUnknown: The server cannot tell, cannot be reached, or is another one.
    """
    xid, identity, cause = lost.xid, lost.identity, lost.cause
    if xid is None or identity is None:
        raise CommitUnknown(internal=f"{cause}; the transaction has no known id") from cause
    wait = _FIRST_WAIT
    try:
        async with asyncio.timeout(engine.resolve_within):
            while True:
                match await _ask(engine, xid, identity):
                    case "committed":
                        return
                    case "aborted":
                        raise DatabaseUnavailable(
                            internal=f"the connection was lost; transaction {xid} was not committed"
                        ) from cause
                    case "elsewhere" | "ambiguous" | "unknown" as status:
                        why = _UNKNOWN[status]
                        raise CommitUnknown(internal=f"transaction {xid} {why}") from cause
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
    except TimeoutError:
        raise CommitUnknown(
            internal=f"transaction {xid} could not be resolved in {engine.resolve_within:g} s"
        ) from cause


async def _ask(engine: Engine, xid: str, identity: str) -> str:
    try:
        async with engine.connection() as conn:
            return await _status(conn, xid, identity)
    except (psycopg.Error, AppError):
        return "unreachable"


async def _status(conn: Connection, xid: str, identity: str) -> str:
    try:
        cursor = await conn.execute(_STATUS, [xid])
    except psycopg.errors.InvalidParameterValue:
        # An id that is yet to be given out: here it was never committed.
        cursor = await conn.execute(_NEVER)
    row = await cursor.fetchone()
    here, status = row or (None, None)
    if here == identity:
        return str(status) if status is not None else "unknown"
    if here is None or here.rpartition("/")[0] != identity.rpartition("/")[0]:
        return "elsewhere"
    # There was a crash. Had it been committed, its id would be committed now: so anything else is certain.
    return "ambiguous" if status in {None, "committed"} else "aborted"
