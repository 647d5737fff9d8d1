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
    who = [f"{row['sessions']} sessions on this database"] if row["sessions"] else []
    who += ["this connection"] if row["own"] else []
    if row["rolsuper"]:
        what, lose = "a superuser: no privilege, row security or suspension binds it", "NOSUPERUSER"
    else:
        what, lose = "not bound by row security: right for a relay or a migrator alone", ""
    cure = f"ALTER ROLE {ident(row['rolname'])} {lose} NOBYPASSRLS;".replace("  ", " ")
    if row["bootstrap"]:  # the server refuses to take it from the role that initdb made
        cure = "let programs, and whoever looks, connect as an ordinary role"
    return Finding(
        "superuser",
        "high" if row["rolsuper"] else "medium",
        f"role {named(row['rolname'])}",
        f"{' and '.join(who)}: {what}",
        cure,
    )


# What is said of a role in this database goes before what is said of the role; and what is said of the
# database before what is said of all roles, and that before the server's own (manual, ALTER ROLE).
_PATHS: Final = """
WITH said AS (
    SELECT s.setrole, r.rolname AS role, s.setdatabase <> 0 AS here, substr(c, 13) AS path
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
    WHERE c LIKE 'search\\_path=%%' AND (s.setrole = 0 OR r.rolcanlogin)
        AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
)
SELECT role, here, path FROM said
WHERE here OR NOT EXISTS (SELECT FROM said AS nearer WHERE nearer.setrole = said.setrole AND nearer.here)
UNION ALL SELECT NULL, true, %(path)s WHERE NOT EXISTS (SELECT FROM said WHERE setrole = 0)
ORDER BY role NULLS FIRST
"""
_HOLDING: Final = """
SELECT * FROM (
    SELECT n.nspname AS name, n.oid = ANY (%(tenants)s::oid[]) AS tenant, min(c.relname) AS example,
        EXISTS (SELECT FROM pg_roles r WHERE r.rolname = n.nspname AND r.rolcanlogin) AS of_a_role
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    GROUP BY n.nspname, n.oid
) holding WHERE of_a_role OR name = ANY (%(names)s)
"""


async def base_path(site: Site) -> list[Finding]:
    """Find sessions in which a name without a schema is a table's before any scope is set."""
    said = await site.rows(_PATHS, path=site.path)
    paths = [_Path(row["role"], row["here"], path_of(row["path"])) for row in said]
    names = {name for path in paths for name in path.schemas}
    holding = await site.rows(_HOLDING, names=[*names, *(path.role for path in paths if path.role)])
    return [
        path.finding(site, found)
        for path in paths
        if (found := [row for row in holding if path.leads_to(row)])
    ]


@dataclass(frozen=True)
class _Path:
    """A setting of `search_path`; it is every role's if `role` is None."""

    role: str | None
    here: bool
    schemas: list[str]

    def leads_to(self, schema: Row) -> bool:
        if schema["name"] in self.schemas:
            return True
        own = schema["of_a_role"] if self.role is None else schema["name"] == self.role
        return "$user" in self.schemas and bool(own)

    def finding(self, site: Site, found: list[Row]) -> Finding:
        where, change = "all roles", "ROLE ALL"
        if self.role is not None:
            where, change = f"role {named(self.role)}", f"ROLE {ident(self.role)}"
            change += f" IN DATABASE {ident(site.database)}" if self.here else ""
        elif self.here:
            where = f"database {named(site.database)}"
            change = f"DATABASE {ident(site.database)}"
        tables = some(named(row["name"], row["example"]) for row in found)
        return Finding(
            "base-path",
            "high" if any(row["tenant"] for row in found) else "medium",
            where,
            f"search_path is {shown(', '.join(self.schemas))}: a statement without a tenant finds"
            f" {tables}",
            f"ALTER {change} SET search_path = pg_catalog, pg_temp;",
        )
