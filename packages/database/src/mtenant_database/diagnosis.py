"""Whose fault a missing name is: the tenant's state, or the program's statement."""

from __future__ import annotations

from collections.abc import Mapping
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
  (select coalesce(json_object_agg(component, version), '{}') from shared.tenant_versions where tenant = t.id),
  (select coalesce(json_object_agg(name, head), '{}') from shared.components)
from shared.tenants t where t.id = %s
"""


async def diagnose(
    conn: Connection, tenant: str, error: AppError, needs: Mapping[str, int] | None
) -> AppError:
    """Return the error that says why a name is missing; `error` itself if the program is wrong.

    One query of the registry decides. A database without a registry has nobody to ask.

    Args:
        conn: An idle connection.
        tenant: The tenant's id.
        error: What `translate` made of the server's error.
        needs: The version of each component that the program is written for; None if it did not say,
            and then a tenant that is behind the newest one is not ready.
    """
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error) or cause.sqlstate not in _MISSING_NAMES:
        return error
    try:
        row = await (await conn.execute(_STATE, [tenant])).fetchone()
    except psycopg.Error:
        return error
    if row is None:
        told: AppError | None = TenantNotFound(
            internal=f"{error.internal}; the registry does not have it"
        )
    else:
        told = _judge(row[0], _behind(row[1], row[2], needs), error.internal or "")
    if told is None:
        return error
    told.__cause__ = cause
    return told


def _judge(status: str, behind: str, internal: str) -> AppError | None:
    if status == "dropping":
        return TenantNotFound(internal=f"{internal}; it is being dropped")
    if status == "suspended":
        return TenantSuspended(internal=internal)
    if status != "active":
        return TenantNotReady(internal=f"{internal}; its status is {status}", retry_after=1)
    if behind:
        return TenantNotReady(internal=f"{internal}; {behind}", detail=behind, retry_after=1)
    return None


def _behind(
    versions: Mapping[str, int], heads: Mapping[str, int], needs: Mapping[str, int] | None
) -> str:
    wanted, said = (heads, "its head is") if needs is None else (needs, "this program needs")
    return "; ".join(
        f"{component} is at {versions.get(component, 0)}, {said} {version}"
        for component, version in sorted(wanted.items())
        if versions.get(component, 0) < version
    )
