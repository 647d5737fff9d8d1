"""Functions that bring a path of their own, or should."""

from __future__ import annotations

from typing import Final

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import ident, named, path_of, shown
from mtenant_database.doctor.site import Row, Site

# A body that was parsed when it was made (BEGIN ATOMIC) looks no name up any more; one in C has none.
_FUNCTIONS: Final = """
SELECT n.nspname, p.proname, p.prokind = 'p' AS procedure, p.prosecdef AND p.prosqlbody IS NULL
        AND l.lanname NOT IN ('c', 'internal') AS definer,
    (SELECT substr(c, 13) FROM unnest(p.proconfig) c WHERE c LIKE 'search\\_path=%%') AS path,
    (SELECT coalesce(json_agg(json_build_array(tn.nspname, t.typname) ORDER BY a.position), '[]')
        FROM unnest(p.proargtypes) WITH ORDINALITY a (type, position)
        JOIN pg_type t ON t.oid = a.type JOIN pg_namespace tn ON tn.oid = t.typnamespace) AS arguments
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE p.prokind IN ('f', 'p') AND (p.prosecdef OR p.proconfig IS NOT NULL)
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY n.nspname COLLATE "C", p.proname COLLATE "C", p.oid
"""


async def function_paths(site: Site) -> list[Finding]:
    """Find functions whose caller, or whose own path, leads them to the wrong tables."""
    tenants = {*site.tenants.values()}
    found = (_unsafe(row, tenants) for row in await site.rows(_FUNCTIONS))
    return [one for one in found if one is not None]


def _unsafe(row: Row, tenants: set[str]) -> Finding | None:
    own, setting = row["nspname"], row["path"]
    path = path_of(setting or "")
    foreign = [name for name in path if name in tenants and name != own]
    if foreign:
        what = f"its path leads to another tenant, {named(foreign[0])}"
        return _finding(row, what, [one for one in path if one not in foreign] or [own])
    if not row["definer"]:
        return None
    if setting is None:
        what = "SECURITY DEFINER without a path: its caller decides what its names mean"
        return _finding(row, what, [own])
    # An empty path finds no name at all, so every name in the body has its schema.
    if path and path[-1] != "pg_temp":
        what = (
            f"SECURITY DEFINER with the path {shown(setting)}: pg_temp, which the caller fills, is"
            " searched first unless it is last"
        )
        return _finding(row, what, path)
    return None


def _finding(row: Row, what: str, path: list[str]) -> Finding:
    kind = "procedure" if row["procedure"] else "function"
    arguments = ", ".join(ident(*one) for one in row["arguments"])
    safe = ", ".join(ident(one) for one in [*(one for one in path if one != "pg_temp"), "pg_temp"])
    name = ident(row["nspname"], row["proname"])
    return Finding(
        "functions",
        "high",
        f"{kind} {named(row['nspname'], row['proname'])}",
        what,
        f"ALTER {kind.upper()} {name}({arguments}) SET search_path = {safe};",
    )
