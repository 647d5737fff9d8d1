"""What everybody may: TEMP and CREATE, and grants to PUBLIC on what is a tenant's or all tenants'."""

from __future__ import annotations

from typing import Final

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import ident, named
from mtenant_database.doctor.site import Row, Site

# A grantee of 0 is PUBLIC. An ACL that is NULL is the default one, which gives PUBLIC TEMP on a database.
# The owner has it too, which matters only if a program may connect as the owner.
_TEMPORARY: Final = """
SELECT r.rolname FROM pg_database d
CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = current_database() AND a.privilege_type = 'TEMPORARY'
    AND (a.grantee = 0 OR NOT r.rolsuper AND (r.rolcanlogin OR a.grantee <> d.datdba))
ORDER BY r.rolname NULLS FIRST
"""


async def temporary_tables(site: Site) -> list[Finding]:
    """Find who may make temporary tables."""
    return [_temporary(site, row["rolname"]) for row in await site.rows(_TEMPORARY)]


def _temporary(site: Site, role: str | None) -> Finding:
    who, to = ("PUBLIC", "PUBLIC") if role is None else (f"role {named(role)}", ident(role))
    return Finding(
        "temp",
        "medium",
        f"database {named(site.database)}",
        f"{who} may make temporary tables: the next tenant on the same connection finds them",
        f"REVOKE TEMPORARY ON DATABASE {ident(site.database)} FROM {to};",
    )


_CREATES: Final = """
SELECT n.nspname, n.oid = ANY (%(tenants)s::oid[]) AS tenant
FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE "C"
"""
_CREATES_SCHEMAS: Final = """
SELECT datname FROM pg_database d CROSS JOIN aclexplode(d.datacl) a
WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CREATE'
"""


async def public_create(site: Site) -> list[Finding]:
    """Find where everybody may put a schema, a table or a function in another one's way."""
    found = [
        Finding(
            "public-create",
            "medium",
            f"database {named(row['datname'])}",
            "PUBLIC may create schemas in it, such as one with the name of the next tenant's",
            f"REVOKE CREATE ON DATABASE {ident(row['datname'])} FROM PUBLIC;",
        )
        for row in await site.rows(_CREATES_SCHEMAS)
    ]
    return found + [
        Finding(
            "public-create",
            "high" if row["tenant"] else "medium",
            f"schema {named(row['nspname'])}",
            "PUBLIC may create in it: whoever has it on the path can be given a false table or function",
            f"REVOKE CREATE ON SCHEMA {ident(row['nspname'])} FROM PUBLIC;",
        )
        for row in await site.rows(_CREATES)
    ]


_USAGE: Final = """
SELECT DISTINCT n.nspname FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a
WHERE a.grantee = 0 AND a.privilege_type = 'USAGE'
    AND (n.oid = ANY (%(tenants)s::oid[]) OR n.nspname = ANY (%(shared)s))
ORDER BY 1
"""
_ON_RELATIONS: Final = """
SELECT n.nspname, c.relkind = 'S' AS sequences, count(DISTINCT c.oid) AS count, min(c.relname) AS example
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND (n.oid = ANY (%(tenants)s::oid[]) OR n.nspname = ANY (%(shared)s))
    AND (EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
        OR c.oid IN (SELECT k.attrelid FROM pg_attribute k CROSS JOIN aclexplode(k.attacl) a
            WHERE k.attacl IS NOT NULL AND a.grantee = 0))
GROUP BY n.nspname, c.relkind = 'S' ORDER BY n.nspname COLLATE "C", 2
"""
_DEFAULTS: Final = """
SELECT r.rolname, n.nspname, d.defaclobjtype::text AS kind
FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
WHERE d.defaclobjtype IN ('r', 'S', 'n')
    AND EXISTS (SELECT FROM aclexplode(d.defaclacl) a WHERE a.grantee = 0)
    AND (n.oid IS NULL OR n.oid = ANY (%(tenants)s::oid[]) OR n.nspname = ANY (%(shared)s))
ORDER BY r.rolname, n.nspname COLLATE "C", kind
"""


async def public_grants(site: Site) -> list[Finding]:
    """Find what everybody may in the schemas of tenants and in those that hold rows of all of them."""
    found = [_usage(row) for row in await site.rows(_USAGE)]
    found += [_on_relations(row) for row in await site.rows(_ON_RELATIONS)]
    return found + [_default(row) for row in await site.rows(_DEFAULTS)]


def _usage(row: Row) -> Finding:
    return Finding(
        "public-grants",
        "medium",
        f"schema {named(row['nspname'])}",
        "PUBLIC has USAGE: every role may look into it, and suspending the tenant locks nobody out",
        f"REVOKE ALL ON SCHEMA {ident(row['nspname'])} FROM PUBLIC;",
    )


def _on_relations(row: Row) -> Finding:
    kind = "SEQUENCES" if row["sequences"] else "TABLES"
    more = f" and {row['count'] - 1} more" if row["count"] > 1 else ""
    return Finding(
        "public-grants",
        "medium" if row["sequences"] else "high",
        f"schema {named(row['nspname'])}",
        f"PUBLIC has privileges on {named(row['example'])}{more}: every role has them",
        f"REVOKE ALL ON ALL {kind} IN SCHEMA {ident(row['nspname'])} FROM PUBLIC;",
    )


def _default(row: Row) -> Finding:
    kind = {"r": "TABLES", "S": "SEQUENCES", "n": "SCHEMAS"}[row["kind"]]
    inside = "" if row["nspname"] is None else f" IN SCHEMA {ident(row['nspname'])}"
    place = "every schema" if row["nspname"] is None else f"schema {named(row['nspname'])}"
    return Finding(
        "public-grants",
        "medium",
        f"default privileges of {named(row['rolname'])} in {place}",
        f"{kind.lower()} that it makes are granted to PUBLIC from the start",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {ident(row['rolname'])}{inside} REVOKE ALL ON {kind} FROM PUBLIC;",
    )
