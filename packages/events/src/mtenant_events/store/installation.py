"""Installation of outbox and inbox where mtenant-database does not do it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg import Connection, sql

from mtenant_events.store.errors import InstallationRefused, OutboxUnavailable

MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"
"""The files, in the format of mtenant-database: `shared/` once, `tenant/` in each tenant's schema."""

Kind = Literal["shared", "tenant"]

_SCHEMA: Final = "eventing"
_FILE: Final = re.compile(r"([0-9]+)_(?!rollback\.sql)(.+)\.sql")
_LEDGER: Final = (
    "CREATE TABLE eventing.installed (schema text PRIMARY KEY, version integer NOT NULL,"
    " installed_at timestamptz NOT NULL DEFAULT now())"
)


@dataclass(frozen=True)
class Step:
    """A file that was run.

    Attributes:
        schema: Where.
        version: Of the file.
        name: What it made.
    """

    schema: str
    version: int
    name: str

    def __str__(self) -> str:
        return f"{self.schema}: {self.version:03d} {self.name}"


def install(
    conninfo: str,
    *,
    inboxes: Iterable[str] = (),
    app: str | None = None,
) -> list[Step]:
    """Make the outbox, and an inbox in each schema that is named. A second time nothing changes.

    Args:
        conninfo: A URL or a connection string of the role that is to own them.
        inboxes: Schemas: each tenant's, or the one that all of them share.
        app: A role that adds events, runs relays and handlers; None if it is the owner itself.

    Returns:
        What was done.

    Raises:
        InstallationRefused: mtenant-database manages it, a schema is missing, or a newer program was here.
        OutboxUnavailable: The database does not answer, or refuses.
    """
    done: list[Step] = []
    with _connected(conninfo) as conn:
        _prepare(conn)
        for schema in (_SCHEMA, *inboxes):
            done += _bring(conn, schema)
            if app is not None:
                _grant(conn, schema, app)
    return done


def upgrade(conninfo: str) -> list[Step]:
    """Bring the outbox and every inbox that was installed to the newest version.

    Returns:
        What was done.

    Raises:
        InstallationRefused: As `install`, or there is nothing to upgrade.
        OutboxUnavailable: The database does not answer, or refuses.
    """
    with _connected(conninfo) as conn:
        if not _exists(conn, "eventing.installed"):
            _refuse_others(conn)
            raise InstallationRefused("there is no outbox yet: run `mtenant-events outbox install`")
        found = conn.execute("SELECT schema FROM eventing.installed ORDER BY schema").fetchall()
        return [step for (schema,) in found for step in _bring(conn, schema)]


@contextmanager
def _connected(conninfo: str) -> Iterator[Connection[Any]]:
    try:
        with psycopg.connect(conninfo, autocommit=True) as conn:
            yield conn
    except psycopg.Error as exc:
        said = exc.diag.message_primary or str(exc).strip()
        raise OutboxUnavailable(f"the database refuses: {said}") from exc


def _prepare(conn: Connection[Any]) -> None:
    with conn.transaction():
        _lock(conn)
        if _exists(conn, "eventing.installed"):
            return
        _refuse_others(conn)
        conn.execute("CREATE SCHEMA IF NOT EXISTS eventing")
        conn.execute(_LEDGER)


def _refuse_others(conn: Connection[Any]) -> None:
    if _exists(conn, "eventing.outbox"):
        raise InstallationRefused(
            "mtenant-database manages the outbox here: use `mtenant-db migrate up` with the files of"
            " `mtenant-events outbox files`"
        )


def _bring(conn: Connection[Any], schema: str) -> list[Step]:
    files = list(_files("shared" if schema == _SCHEMA else "tenant"))
    done: list[Step] = []
    for version, name, text in files:
        with conn.transaction():
            _lock(conn)
            at = _version(conn, schema)
            if at > files[-1][0]:
                raise InstallationRefused(
                    f"{schema} is at version {at}, and this program knows {files[-1][0]}:"
                    " upgrade mtenant-events"
                )
            if at >= version:
                continue
            _check_schema(conn, schema)
            path = sql.SQL("SET LOCAL search_path TO {}, pg_temp").format(sql.Identifier(schema))
            conn.execute(path)
            conn.execute(text.encode())
            conn.execute(
                "INSERT INTO eventing.installed (schema, version) VALUES (%s, %s)"
                " ON CONFLICT (schema) DO UPDATE SET version = excluded.version",
                [schema, version],
            )
            done.append(Step(schema, version, name))
    return done


def _files(kind: Kind) -> Iterator[tuple[int, str, str]]:
    for path in sorted((MIGRATIONS / kind).iterdir()):
        if match := _FILE.fullmatch(path.name):
            yield int(match[1]), match[2], path.read_text("utf-8")


def _version(conn: Connection[Any], schema: str) -> int:
    found = conn.execute("SELECT version FROM eventing.installed WHERE schema = %s", [schema])
    row = found.fetchone()
    return 0 if row is None else row[0]


def _check_schema(conn: Connection[Any], schema: str) -> None:
    if not conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).rowcount:
        raise InstallationRefused(f"there is no schema {schema}: make it first")


def _grant(conn: Connection[Any], schema: str, app: str) -> None:
    table = "outbox" if schema == _SCHEMA else "event_inbox"
    conn.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
            sql.Identifier(schema, table), sql.Identifier(app)
        )
    )


def _exists(conn: Connection[Any], relation: str) -> bool:
    row = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [relation]).fetchone()
    return row is not None and bool(row[0])


def _lock(conn: Connection[Any]) -> None:
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('mtenant-events installation', 0))")
