"""The examination: every check in one read-only transaction, each with a savepoint of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg

from mtenant_database.doctor.drift import drift
from mtenant_database.doctor.errors import ExaminationFailed
from mtenant_database.doctor.finding import (
    SEVERITIES,
    Finding,
    NotAllowed,
    NothingToLookAt,
    Skipped,
)
from mtenant_database.doctor.functions import function_paths
from mtenant_database.doctor.grants import public_create, public_grants, temporary_tables
from mtenant_database.doctor.objects import extensions, types
from mtenant_database.doctor.owners import owners
from mtenant_database.doctor.quoting import shown
from mtenant_database.doctor.references import component_keys, foreign_keys, views
from mtenant_database.doctor.report import Report
from mtenant_database.doctor.roles import base_path, superusers
from mtenant_database.doctor.security import row_security
from mtenant_database.doctor.site import Site, server_path, survey
from mtenant_database.migrate.link import Link, ScriptFailed

Check = Callable[[Site], Awaitable[list[Finding]]]

CHECKS: Final[dict[str, Check]] = {
    "superuser": superusers,
    "base-path": base_path,
    "temp": temporary_tables,
    "public-create": public_create,
    "public-grants": public_grants,
    "row-security": row_security,
    "functions": function_paths,
    "foreign-keys": foreign_keys,
    "views": views,
    "owners": owners,
    "extensions": extensions,
    "types": types,
    "component-keys": component_keys,
    "drift": drift,
}
"""What is looked at, in this order."""

# Names come as UTF-8 even from a database that does not say what its bytes mean (SQL_ASCII).
_ENCODING: Final = "SET LOCAL client_encoding TO 'UTF8'"
# The path keeps names of ours from being anybody else's. A check takes seconds at thousands of tenants;
# one that takes minutes is in the way of what the database is for.
_LIMITS: Final = (
    "SET LOCAL search_path TO pg_catalog, pg_temp;"
    "SET LOCAL statement_timeout TO '60s'; SET LOCAL lock_timeout TO '3s'"
)


async def examine(conninfo: str) -> Report:
    """Look for what lets one tenant see another in a database with a schema for each tenant.

    It reads the catalog, and of this library's own tables the registry and a few ledgers, in one
    read-only transaction. No check takes longer than 60 s; one that would is reported as not looked at.

    Args:
        conninfo: A URL or a connection string, best of the role that the program connects as. No
            check needs more than it, and what the role may not see is said.

    Raises:
        ExaminationFailed: The server was not to be reached, or the connection broke.
        InvalidDsn: The connection string is none.
    """
    begun = time.monotonic()
    async with Link(conninfo) as link:
        try:
            connection = await link.connection()
            await connection.set_read_only(True)
            await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
            async with connection.transaction():
                await connection.execute(_ENCODING)
                path = await server_path(connection)
                await connection.execute(_LIMITS)
                return await _look(await survey(link, path), begun)
        except (psycopg.Error, ScriptFailed) as exc:
            raise ExaminationFailed(problem=_problem(exc)) from exc


async def _look(site: Site, begun: float) -> Report:
    connection = await site.link.connection()
    findings: list[Finding] = []
    clean: list[str] = []
    not_applicable: list[Skipped] = []
    unseen: list[Skipped] = []
    for name, check in CHECKS.items():
        try:
            async with connection.transaction():
                found = await check(site)
        except NothingToLookAt as exc:
            not_applicable.append(Skipped(name, str(exc)))
        except NotAllowed as exc:
            unseen.append(Skipped(name, str(exc), exc.cure))
        except (psycopg.Error, ScriptFailed) as exc:
            if connection.closed:
                raise
            unseen.append(Skipped(name, _problem(exc), _again(exc)))
        else:
            findings += found
            if not found:
                clean.append(name)
    order = {name: position for position, name in enumerate(CHECKS)}
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), order[one.check]))
    return Report(
        database=shown(site.database),
        server=site.server,
        role=shown(site.role),
        tenants=len(site.tenants),
        guessed=site.guessed,
        findings=tuple(findings),
        clean=tuple(clean),
        not_applicable=tuple(not_applicable),
        unseen=tuple(unseen),
        seconds=time.monotonic() - begun,
    )


def _problem(exc: psycopg.Error | ScriptFailed) -> str:
    said = exc if isinstance(exc, ScriptFailed) else ScriptFailed(exc)
    return shown(" ".join(str(said.params["problem"]).split()))


def _again(exc: psycopg.Error | ScriptFailed) -> str | None:
    if exc.sqlstate == "42501":  # insufficient_privilege
        return "look again as a role that may, such as the owner of the schemas"
    if exc.sqlstate in ("57014", "55P03"):  # query_canceled, lock_not_available
        return "look again when fewer people are at work"
    return None
