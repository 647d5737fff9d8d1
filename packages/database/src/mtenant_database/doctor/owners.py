"""Whose the tenants' schemas are: one role's, which nobody connects as."""

from __future__ import annotations

from typing import Final

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import ident, named, some
from mtenant_database.doctor.site import Row, Site

# A sequence that belongs to a column is its table's, and goes with it.
_THINGS: Final = """
WITH things AS (
    SELECT n.oid AS schema, NULL::name AS name, 'SCHEMA' AS kind, n.nspowner AS owner
    FROM pg_namespace n WHERE n.oid = ANY (%(tenants)s::oid[])
    UNION ALL
    SELECT c.relnamespace, c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
        WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, c.relowner
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
    WHERE n.oid = ANY (%(tenants)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
)
"""
_MAIN: Final = f"""
{_THINGS} SELECT r.oid, r.rolname, r.rolcanlogin, r.rolsuper, count(*) AS things,
    count(DISTINCT things.schema) AS schemas,
    EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid) AND NOT EXISTS (SELECT
        FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.datname = current_database()) AS dispensable
FROM things JOIN pg_roles r ON r.oid = things.owner
GROUP BY r.oid, r.rolname, r.rolcanlogin, r.rolsuper
ORDER BY count(*) DESC, r.rolsuper, r.rolcanlogin, r.rolname
"""  # noqa: S608 -- of two constants
_STRAYS: Final = f"""
{_THINGS} SELECT n.nspname AS schema, r.rolname, r.rolcanlogin AND NOT r.rolsuper AS program,
    json_agg(json_build_array(things.kind, things.name) ORDER BY things.name NULLS FIRST) AS things
FROM things JOIN pg_namespace n ON n.oid = things.schema JOIN pg_roles r ON r.oid = things.owner
WHERE things.owner <> %(main)s::oid
GROUP BY n.nspname, r.rolname, r.rolcanlogin, r.rolsuper ORDER BY n.nspname COLLATE "C", r.rolname
"""  # noqa: S608 -- of two constants


async def owners(site: Site) -> list[Finding]:
    """Find schemas and relations that are not the one owner's, or whose owner a program may be."""
    site.need_tenants()
    every = await site.rows(_MAIN)
    main = every[0]
    found = [_program(main)] if main["rolcanlogin"] or main["rolsuper"] else []
    if len(every) > 1:
        strays = await site.rows(_STRAYS, main=main["oid"])
        found += [_strays(main["rolname"], row) for row in strays]
    return found


def _program(main: Row) -> Finding:
    name = main["rolname"]
    if main["rolsuper"]:
        kind = "is a superuser: functions and views of its schemas run with all rights"
    else:
        kind = (
            "can log in: a program that does so can alter, drop and grant, a suspended schema too"
        )
    cure = f"ALTER ROLE {ident(name)} NOLOGIN;"
    # Without LOGIN, who is a member still migrates; who connects as the role does nothing any more.
    if main["rolsuper"] or not main["dispensable"]:
        cure = (
            "make a role NOLOGIN that owns schemas and relations, grant it to whoever migrates, and"
            f" give {named(name)} no more than DML"
        )
    what = f"owns what is in {main['schemas']} tenants' schemas, and {kind}"
    return Finding("owners", "medium", f"role {named(name)}", what, cure)


def _strays(main: str, row: Row) -> Finding:
    schema, owner = row["schema"], row["rolname"]
    said, given = [], []
    for kind, name in row["things"]:
        at = ident(schema) if name is None else ident(schema, name)
        said.append(f"ALTER {kind} {at} OWNER TO {ident(main)};")
        if row["program"]:  # which had every right as the owner, and keeps those to rows
            what = {"SCHEMA": "USAGE ON SCHEMA", "SEQUENCE": "USAGE, SELECT ON SEQUENCE"}.get(
                kind, "SELECT, INSERT, UPDATE, DELETE ON"
            )
            given.append(f"GRANT {what} {at} TO {ident(owner)};")
    what = some("the schema" if name is None else named(name) for _, name in row["things"])
    return Finding(
        "owners",
        "medium",
        f"schema {named(schema)}",
        f"{named(owner)} owns {what}, and {named(main)} most of the rest: migrations will fail there",
        " ".join(said + given),
    )
