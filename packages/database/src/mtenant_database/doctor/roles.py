"""Who connects, and what a name without a schema means to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import ident, named, path_of, shown, some
from mtenant_database.doctor.site import Row, Site

# Other roles' sessions show their backend_type only to pg_read_all_stats; it is NULL for anybody else.
_UNBOUND: Final = """
SELECT r.rolname, r.rolsuper, r.oid = 10 AS bootstrap, r.rolname = session_user AS own,
    count(a.pid) AS sessions
FROM pg_roles r LEFT JOIN pg_stat_activity a ON a.usesysid = r.oid
    AND a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND coalesce(a.backend_type, 'client backend') = 'client backend'
WHERE r.rolsuper OR r.rolbypassrls
GROUP BY r.oid, r.rolname, r.rolsuper
HAVING r.rolname = session_user OR count(a.pid) > 0
ORDER BY r.rolname
"""


async def superusers(site: Site) -> list[Finding]:
    """Find programs that neither privileges nor row security bind."""
    return [_unbound(row) for row in await site.rows(_UNBOUND)]


def _unbound(row: Row) -> Finding:
    who = ["this connection"] if row["own"] else []
    who += [f"sessions on this database: {row['sessions']}"] if row["sessions"] else []
    if row["rolsuper"]:
        what, lose = (
            "is a superuser: no privilege, row security or suspension binds it",
            "NOSUPERUSER ",
        )
    else:
        what, lose = "is not bound by row security: right for a relay or a migrator alone", ""
    cure = f"ALTER ROLE {ident(row['rolname'])} {lose}NOBYPASSRLS;"
    if row["bootstrap"]:  # the server refuses to take it from the role that initdb made
        cure = "let programs, and whoever looks, connect as an ordinary role"
    return Finding(
        "superuser",
        "high" if row["rolsuper"] else "medium",
        f"role {named(row['rolname'])}",
        f"it {what} ({', '.join(who)})",
        cure,
    )


# What is said of a role in this database goes before what is said of the role; and what is said of the
# database before what is said of all roles, and that before the server's own (manual, ALTER ROLE).
_PATHS: Final = """
WITH said AS (
    SELECT s.setrole, r.rolname AS role, s.setdatabase <> 0 AS here, substr(c, 13) AS path
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
    WHERE c LIKE 'search\\_path=%%' AND (s.setrole = 0 OR (r.rolcanlogin
            AND has_database_privilege(r.oid, current_database(), 'CONNECT')))
        AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
)
SELECT role, here, path FROM said
WHERE here OR NOT EXISTS (SELECT FROM said AS nearer WHERE nearer.setrole = said.setrole AND nearer.here)
UNION ALL SELECT NULL, true, %(path)s WHERE NOT EXISTS (SELECT FROM said WHERE setrole = 0)
ORDER BY role NULLS FIRST
"""
# What each of those paths finds; `$user` of everybody is each role that has a schema of its name.
_TABLES: Final = """
WITH asked AS (
    SELECT * FROM unnest(%(roles)s::text[], %(names)s::text[]) AS a (role, name)
), found AS (
    SELECT a.role, n.oid, n.nspname FROM asked a JOIN pg_namespace n ON n.nspname = a.name
    WHERE a.role IS NULL OR has_schema_privilege(a.role, n.oid, 'USAGE')
    UNION
    SELECT a.role, n.oid, n.nspname FROM asked a CROSS JOIN pg_namespace n
    JOIN pg_roles r ON r.rolname = n.nspname AND r.rolcanlogin
    WHERE a.role IS NULL AND a.name = '$user'
)
SELECT f.role, f.nspname AS schema, f.oid = ANY (%(tenants)s::oid[]) AS tenant, min(c.relname) AS example
FROM found f JOIN pg_class c ON c.relnamespace = f.oid
WHERE f.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY f.role, f.nspname, f.oid ORDER BY f.nspname COLLATE "C"
"""


async def base_path(site: Site) -> list[Finding]:
    """Find sessions in which a name without a schema is a table's before any scope is set."""
    said = await site.rows(_PATHS, path=site.path)
    paths = [_Path(row["role"], row["here"], path_of(row["path"])) for row in said]
    asked = [(path.role, name) for path in paths for name in path.schemas]
    tables = await site.rows(
        _TABLES,
        roles=[role for role, _ in asked],
        names=[role if name == "$user" and role else name for role, name in asked],
    )
    found: dict[str | None, list[Row]] = {}
    for row in tables:
        found.setdefault(row["role"], []).append(row)
    return [path.finding(site, found[path.role]) for path in paths if path.role in found]


@dataclass(frozen=True)
class _Path:
    """The `search_path` of a role; None is everybody who has none of their own.

    Attributes:
        role: Whose it is.
        here: Whether it is said for this database, and not for all of them.
        schemas: What it says.
    """

    role: str | None
    here: bool
    schemas: list[str]

    def finding(self, site: Site, found: list[Row]) -> Finding:
        where, change = "all roles", "ROLE ALL"
        if self.role is not None:
            where, change = f"role {named(self.role)}", f"ROLE {ident(self.role)}"
            change += f" IN DATABASE {ident(site.database)}" if self.here else ""
        elif self.here:
            where = f"database {named(site.database)}"
            change = f"DATABASE {ident(site.database)}"
        tables = some(named(row["schema"], row["example"]) for row in found)
        return Finding(
            "base-path",
            "high" if any(row["tenant"] for row in found) else "medium",
            where,
            f"search_path is {shown(', '.join(self.schemas))}: a statement without a tenant finds"
            f" {tables}",
            f"ALTER {change} SET search_path = pg_catalog, pg_temp;",
        )
