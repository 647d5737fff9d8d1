"""Keys and views that leave the schema of their tenant, or the component that made the table."""

from __future__ import annotations

import json
from typing import Any, Final

from psycopg import sql

from mtenant_database.doctor.finding import Finding, NotAllowed
from mtenant_database.doctor.quoting import ident, named, some
from mtenant_database.doctor.site import Row, Site
from mtenant_database.migrate.ledger import LEDGER

# A partition has its parent's keys, which are mended there.
_KEYS: Final = """
SELECT n.nspname, c.relname, k.conname, fn.nspname AS to_schema, f.relname AS to_table,
    fn.oid = ANY (%(tenants)s::oid[]) AS to_tenant
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.oid <> fn.oid
    AND (n.oid = ANY (%(tenants)s::oid[]) OR fn.oid = ANY (%(tenants)s::oid[]))
    AND NOT (fn.nspname = 'shared' AND f.relname = 'tenants')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", k.conname
"""


async def foreign_keys(site: Site) -> list[Finding]:
    """Find foreign keys that leave a tenant's schema, or lead into one."""
    site.need_tenants()
    return [_key(row) for row in await site.rows(_KEYS)]


def _key(row: Row) -> Finding:
    what = f"it leads to {named(row['to_schema'], row['to_table'])}, "
    if row["to_tenant"]:
        what += "which is another tenant's: it tells what rows are there, and may delete with them"
    else:
        what += "outside of the tenant: it cannot be dumped, restored or moved by itself"
    return Finding(
        "foreign-keys",
        "high" if row["to_tenant"] else "low",
        f"key {named(row['conname'])} of {named(row['nspname'], row['relname'])}",
        what,
        f"ALTER TABLE {ident(row['nspname'], row['relname'])} DROP CONSTRAINT {ident(row['conname'])};",
    )


# One tenant for each state that tenants are in: those at the same versions have the same tables. (A
# ledger of every tenant would take a lock of each, more than a server has by default.)
_EXAMPLES: Final = """
SELECT min(id) FILTER (WHERE status = 'active') AS tenant FROM (
    SELECT t.id, t.status, array_agg((v.component, v.version, v.contract)::text
        ORDER BY v.component) AS versions
    FROM shared.tenants t JOIN shared.tenant_versions v ON v.tenant = t.id
    WHERE t.status = 'active' GROUP BY t.id, t.status
) states GROUP BY versions ORDER BY count(*) DESC LIMIT 100
"""
_LEDGERS: Final = """
SELECT n.nspname, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(ledger)s AND n.nspname = ANY (%(schemas)s)
"""
_PAIRS: Final = """
SELECT n.nspname = 'shared' AS shared, c.relname, k.conname, f.relname AS to_table,
    count(*) AS schemas, min(n.nspname) AS example
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relnamespace = f.relnamespace
    AND (n.nspname = 'shared' OR n.oid = ANY (%(tenants)s::oid[]))
    AND NOT (n.nspname = 'shared' AND f.relname = 'tenants')
GROUP BY 1, c.relname, k.conname, f.relname
ORDER BY 1, c.relname COLLATE "C", k.conname
"""


async def component_keys(site: Site) -> list[Finding]:
    """Find foreign keys from one component's table to another's."""
    site.need_registry()
    examples = [f"tenant_{row['tenant']}" for row in await site.rows(_EXAMPLES)]
    components = {
        False: await _components(site, examples),
        True: await _components(site, ["shared"]),
    }
    found = []
    for row in await site.rows(_PAIRS):
        of = components[row["shared"]]
        one, other = of.get(row["relname"]), of.get(row["to_table"])
        if one is not None and other is not None and one != other:
            found.append(_across(row, one, other))
    return found


async def _components(site: Site, schemas: list[str]) -> dict[str, str]:
    """Return who made the relations of some schemas, as their ledgers have it."""
    ledgers = await site.rows(_LEDGERS, ledger=LEDGER, schemas=schemas)
    made: dict[str, str] = {}
    for row in ledgers:
        if not row["readable"]:
            schema, role = ident(row["nspname"]), ident(site.role)
            raise NotAllowed(
                f"the role may not read the ledger of {named(row['nspname'])}",
                f"GRANT USAGE ON SCHEMA {schema} TO {role};"
                f" GRANT SELECT ON {ident(row['nspname'], LEDGER)} TO {role};",
            )
        query = sql.SQL("SELECT json_agg(l) FROM (SELECT component, relations FROM {}) l").format(
            sql.Identifier(row["nspname"], LEDGER)
        )
        entries: list[dict[str, Any]] = json.loads(await site.link.value(query.as_string()) or "[]")
        made |= {name: one["component"] for one in entries for name in one["relations"]}
    return made


def _across(row: Row, one: str, other: str) -> Finding:
    more = f" and {row['schemas'] - 1} more like it" if row["schemas"] > 1 else ""
    return Finding(
        "component-keys",
        "low",
        f"key {named(row['conname'])} of {named(row['example'], row['relname'])}{more}",
        f"{named(one)} refers to {named(row['to_table'])} of {named(other)}: neither can be migrated"
        " without the other",
        f"in a migration of {named(one)}: ALTER TABLE {ident(row['relname'])}"
        f" DROP CONSTRAINT {ident(row['conname'])}",
    )


_VIEWS: Final = """
SELECT n.nspname, c.relname, c.relkind::text AS kind, r.rulename,
    json_agg(DISTINCT fn.nspname) AS schemas
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass
JOIN pg_class f ON f.oid = d.refobjid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE n.oid <> fn.oid AND fn.oid = ANY (%(tenants)s::oid[])
GROUP BY n.nspname, c.relname, c.relkind, r.rulename
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""


async def views(site: Site) -> list[Finding]:
    """Find views, and rules, of one schema that read a tenant's tables in another one."""
    site.need_tenants()
    return [_view(row) for row in await site.rows(_VIEWS)]


def _view(row: Row) -> Finding:
    name = ident(row["nspname"], row["relname"])
    kind = {"v": "VIEW", "m": "MATERIALIZED VIEW"}.get(row["kind"], "RULE")
    drop = f"RULE {ident(row['rulename'])} ON {name}" if kind == "RULE" else f"{kind} {name}"
    return Finding(
        "views",
        "high",
        f"{kind.lower()} {named(row['nspname'], row['relname'])}",
        f"it reaches into {some(named(one) for one in row['schemas'])}, whichever tenant asks",
        f"DROP {drop};",
    )
