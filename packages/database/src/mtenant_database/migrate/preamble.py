"""What is said to the server before and after the statements of a file: role, path, limits, lock."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from psycopg import sql

from mtenant_database.migrate.ledger import lock_key
from mtenant_database.migrate.script import Directives
from mtenant_database.migrate.settings import MigrateSettings

# RESET comes after the transaction: what a file has SET is gone before the next schema's turn.
RESET: Final = "RESET SESSION AUTHORIZATION; RESET ALL"
COMMIT: Final = f"COMMIT; {RESET}"


def begin(settings: MigrateSettings, schema: str, *, durable: bool = True) -> sql.Composed:
    """Return the statements that open a transaction as the owner.

    Args:
        settings: Whose role, and how long statements may wait and take.
        schema: The only one on the path, but for `pg_temp` at its end: left out it would be first.
        durable: Whether the commit has to reach the disk.
    """
    said = [
        # The ledger has to be read as it is after the lock was granted.
        sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED;"),
        set_role(settings),
        sql.SQL("SET LOCAL search_path TO {}, pg_temp;").format(sql.Identifier(schema)),
        sql.SQL("SET LOCAL lock_timeout TO {};").format(_milliseconds(settings.lock_timeout)),
    ]
    if settings.statement_timeout is not None:
        limit = _milliseconds(settings.statement_timeout)
        said.append(sql.SQL("SET LOCAL statement_timeout TO {};").format(limit))
    if not durable:
        said.append(sql.SQL("SET LOCAL synchronous_commit TO off;"))
    return sql.Composed(said)


def set_role(settings: MigrateSettings) -> sql.Composable:
    """Return the statement that takes the owner's role for a transaction."""
    if settings.owner is None:
        return sql.SQL("")
    return sql.SQL("SET LOCAL ROLE {};").format(sql.Identifier(settings.owner))


def session(settings: MigrateSettings, schema: str) -> sql.Composable:
    """Return the statements that take role and path for what cannot be in a transaction.

    There is no lock_timeout: CREATE INDEX CONCURRENTLY waits for old transactions by design.
    """
    role = (
        sql.SQL("")
        if settings.owner is None
        else sql.SQL("SET ROLE {};").format(sql.Identifier(settings.owner))
    )
    path = sql.SQL("SET search_path TO {}, pg_temp;").format(sql.Identifier(schema))
    return sql.Composed([role, path])


def try_lock(schema: str) -> sql.Composed:
    """Return the query that takes a schema's lock until the transaction ends, or answers false.

    It never waits at the server: who waits there holds a snapshot, and CREATE INDEX CONCURRENTLY
    waits for those.
    """
    key = sql.Literal(lock_key(schema))
    return sql.SQL("SELECT pg_catalog.pg_try_advisory_xact_lock({});").format(key)


def insist(schema: str) -> sql.Composed:
    """Return a query that fails (22012) unless the role is no superuser and the lock was free.

    What follows it in one message is not run then, and nobody has to look in between.
    """
    key = sql.Literal(lock_key(schema))
    return sql.SQL(
        "SELECT 1 / (pg_catalog.current_setting('is_superuser') = 'off'"
        " AND pg_catalog.pg_try_advisory_xact_lock({}))::int;"
    ).format(key)


def try_session_lock(schema: str) -> sql.Composed:
    """Return the query that takes the same lock until the connection ends, or answers false."""
    key = sql.Literal(lock_key(schema))
    return sql.SQL("SELECT pg_catalog.pg_try_advisory_lock({});").format(key)


def limits(directives: Directives, *, local: bool = True) -> list[sql.Composed]:
    """Return a statement for each limit that a file asks for."""
    asked = (
        ("lock_timeout", directives.lock_timeout),
        ("statement_timeout", directives.statement_timeout),
    )
    scope = sql.SQL("SET LOCAL" if local else "SET")
    return [
        sql.SQL("{} {} TO {};").format(scope, sql.Identifier(name), sql.Literal(value))
        for name, value in asked
        if value is not None
    ]


def _milliseconds(time: timedelta) -> sql.Literal:
    return sql.Literal(max(1, round(time.total_seconds() * 1000)))
