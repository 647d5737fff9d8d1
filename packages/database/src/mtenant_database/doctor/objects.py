"""What does not belong into a tenant's schema: types of its own, and extensions."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import ident, literal, named, some
from mtenant_database.doctor.site import Row, Site

# A table's own row type and arrays are no types that somebody made. Whose columns have the type is
# asked of pg_depend, which has an index for it: pg_attribute has none.
_TYPES: Final = """
SELECT n.nspname, t.typname, t.typtype::text AS kind,
    (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
    (SELECT json_agg(json_build_array(cn.nspname, c.relname, a.attname) ORDER BY c.oid, a.attnum)
        FROM pg_depend d JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.objid, d.objsubid)
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_type'::regclass
            AND d.refobjid = t.oid AND a.atttypid = t.oid AND a.attinhcount = 0
            AND c.relkind IN ('r', 'p')) AS columns,
    (SELECT count(*) FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass
        AND d.refobjid IN (t.oid, t.typarray) AND d.deptype <> 'i') AS dependents
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE n.oid = ANY (%(tenants)s::oid[])
    AND (t.typtype IN ('d', 'e', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
    AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
ORDER BY n.nspname COLLATE "C", t.typname COLLATE "C"
"""
_KINDS: Final = {"d": "domain", "e": "enum", "r": "range", "c": "composite type"}


async def types(site: Site) -> list[Finding]:
    """Find types, domains and enums, of which every tenant has one with another identifier."""
    site.need_tenants()
    return [_type(row) for row in await site.rows(_TYPES)]


def _type(row: Row) -> Finding:
    used = some(named(*column) for column in row["columns"] or ())
    return Finding(
        "types",
        "low",
        f"{_KINDS[row['kind']]} {named(row['nspname'], row['typname'])}",
        "every tenant has its own: what a driver or a plan remembers of one fails with the next"
        + (f"; used by {used}" if used else ""),
        _without(row),
    )


def _without(row: Row) -> str:
    name, columns = ident(row["nspname"], row["typname"]), row["columns"] or []
    kind = "DOMAIN" if row["kind"] == "d" else "TYPE"
    # A default, a view or a function that depends on it needs a hand.
    if not row["dependents"]:
        return f"DROP {kind} {name};"
    if row["kind"] == "e" and row["dependents"] == len(columns):
        labels = ", ".join(map(literal, row["labels"] or []))
        said = []
        for table, changed in groupby(columns, key=lambda column: column[:2]):
            changes = ", ".join(
                f"ALTER COLUMN {ident(column)} TYPE text, ADD CHECK ({ident(column)} IN ({labels}))"
                for _, _, column in changed
            )
            said.append(f"ALTER TABLE {ident(*table)} {changes};")
        return " ".join([*said, f"DROP TYPE {name};"])
    return (
        "in a migration, give its columns a built-in type with a CHECK, or a type of the schema shared,"
        f" and DROP {kind} {named(row['typname'])}"
    )


_EXTENSIONS: Final = """
SELECT e.extname, n.nspname, e.extrelocatable FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE n.oid = ANY (%(tenants)s::oid[]) ORDER BY e.extname
"""


async def extensions(site: Site) -> list[Finding]:
    """Find extensions, of which a database has one, in the schema of one tenant."""
    site.need_tenants()
    return [_extension(row) for row in await site.rows(_EXTENSIONS)]


def _extension(row: Row) -> Finding:
    name = ident(row["extname"])
    cure = f"CREATE SCHEMA IF NOT EXISTS extensions; ALTER EXTENSION {name} SET SCHEMA extensions;"
    if not row["extrelocatable"]:  # it may hold data, so this wants a person
        cure = f"make it again: DROP EXTENSION {name}, CREATE EXTENSION {name} SCHEMA extensions"
    return Finding(
        "extensions",
        "medium",
        f"extension {named(row['extname'])} in {named(row['nspname'])}",
        "it goes away for everybody when this tenant is dropped, and others do not find it",
        cure,
    )
