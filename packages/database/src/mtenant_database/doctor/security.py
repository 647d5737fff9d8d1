"""Rows of several tenants in one table: the server keeps them apart, or nobody does."""

from __future__ import annotations

from typing import Final

from mtenant_database.doctor.finding import Finding, NothingToLookAt
from mtenant_database.doctor.quoting import ident, named
from mtenant_database.doctor.site import SHARED, Row, Site

# The registry, its cache of versions, and what is looked for before the tenant is known are open.
_TABLES: Final = """
SELECT n.nspname, c.relname, a.attname, a.atttypid = 'text'::regtype AS is_text,
    c.relrowsecurity AND c.relforcerowsecurity AS forced,
    EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AS has_policy,
    (SELECT json_agg(p.polname ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid
        AND p.polpermissive AND 0 = ANY (p.polroles)
        AND pg_get_expr(coalesce(p.polqual, p.polwithcheck), p.polrelid) = 'true') AS open
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT a.attname, a.atttypid FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attname IN ('tenant', 'tenant_id', 'organization_id')
        AND NOT a.attisdropped ORDER BY a.attname DESC LIMIT 1) a
WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (%(shared)s)
    AND NOT (n.nspname = 'shared' AND c.relname IN ('tenants', 'tenant_versions', 'organizations'))
ORDER BY n.nspname, c.relname COLLATE "C"
"""
_SCHEMAS: Final = "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%(shared)s)"


async def row_security(site: Site) -> list[Finding]:
    """Find tables with rows of several tenants that do not force row security."""
    if not await site.rows(_SCHEMAS):
        raise NothingToLookAt(f"there is no schema {' or '.join(SHARED)}")
    found = []
    for row in await site.rows(_TABLES):
        if not row["forced"]:
            found.append(_not_forced(row))
        found += [_open(row, name) for name in row["open"] or ()]
    return found


def _not_forced(row: Row) -> Finding:
    table, column = ident(row["nspname"], row["relname"]), ident(row["attname"])
    cure = f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    if not row["has_policy"]:  # without one nobody would see a row
        value = column if row["is_text"] else f"{column}::text"
        cure += (
            f" CREATE POLICY own_tenant ON {table}"
            f" USING ({value} = current_setting('mtenant.tenant_id', true));"
        )
    return Finding(
        "row-security",
        "high",
        f"table {named(row['nspname'], row['relname'])}",
        f"it has rows of several tenants ({named(row['attname'])}) and does not force row security",
        cure,
    )


def _open(row: Row, policy: str) -> Finding:
    table = named(row["nspname"], row["relname"])
    return Finding(
        "row-security",
        "high",
        f"policy {named(policy)} on {table}",
        "it is true for everybody and every row, which makes all other policies of the table idle",
        f"DROP POLICY {ident(policy)} ON {ident(row['nspname'], row['relname'])};",
    )
