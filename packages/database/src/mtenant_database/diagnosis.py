"""Whose fault a missing name is: the tenant's state, or the program's statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

from mtenant_database.errors import TenantNotFound, TenantNotReady, TenantSuspended
from mtenant_errors import AppError

if TYPE_CHECKING:
    from mtenant_database.engine import Connection

# Undefined table, column, function: what a program sees whose tenant is not at its version.
_MISSING_NAMES: Final = frozenset({"42P01", "42703", "42883"})
_STATE: Final = """
select t.status,
  (select string_agg(format('%%s is at %%s, its head is %%s', c.name, coalesce(v.version, 0), c.head), '; ')
     from shared.components c
     left join shared.tenant_versions v on v.tenant = t.id and v.component = c.name
    where c.head > coalesce(v.version, 0))
from shared.tenants t where t.id = %s
"""


async def diagnose(conn: Connection, tenant: str, error: AppError) -> AppError:
    """Return the error that says why a name is missing; `error` itself if the program is wrong.

    One query of the registry decides. A database without a registry has nobody to ask.

    Args:
        conn: An idle connection.
        tenant: The tenant's id.
        error: What `translate` made of the server's error.
    """
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error) or cause.sqlstate not in _MISSING_NAMES:
        return error
    try:
        row = await (await conn.execute(_STATE, [tenant])).fetchone()
    except psycopg.Error:
        return error
    told = _judge(row, error.internal or "")
    if told is None:
        return error
    told.__cause__ = cause
    return told


def _judge(row: tuple[str, str | None] | None, internal: str) -> AppError | None:
    if row is None:
        return TenantNotFound(internal=f"{internal}; the registry does not have it")
    status, behind = row
    if status == "dropping":
        return TenantNotFound(internal=f"{internal}; it is being dropped")
    if status == "suspended":
        return TenantSuspended(internal=internal)
    if status != "active":
        return TenantNotReady(internal=f"{internal}; its status is {status}", retry_after=1)
    if behind:
        return TenantNotReady(internal=f"{internal}; {behind}", detail=behind, retry_after=1)
    return None
