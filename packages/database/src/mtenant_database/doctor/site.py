"""The site: the database that is examined, and which of its schemas are tenants'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from mtenant_database.doctor.finding import NotAllowed, NothingToLookAt
from mtenant_database.doctor.quoting import ident
from mtenant_database.migrate.link import Link

Row = dict[str, Any]

SHARED: Final = ("shared", "eventing")
"""The schemas whose tables hold rows of several tenants."""

# Asked before a path is set, so without an operator: another schema's might be found first.
_SETTINGS: Final = "SELECT name, setting, boot_val, source FROM pg_catalog.pg_settings"
_SITE: Final = """
SELECT current_database() AS database, current_user AS role,
    split_part(current_setting('server_version'), ' ', 1) AS server
"""
_REGISTRY: Final = """
SELECT coalesce(bool_and(has_table_privilege(c.oid, 'SELECT')
    AND has_schema_privilege(c.relnamespace, 'USAGE')), false) AS readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'shared' AND c.relname IN ('tenants', 'components', 'tenant_versions')
HAVING count(*) = 3
"""
# Without a registry, schemas are taken for tenants' that have most of their tables' names in common
# with another one: that is what a migration for every tenant leaves behind, whatever the schemas' names.
_TENANTS: Final = """
WITH candidates AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> ALL ('{information_schema,public,shared,eventing}')
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
), tables AS (
    SELECT c.relnamespace, count(*) OVER (PARTITION BY c.relname) > 1 AS has_namesake
    FROM pg_class c JOIN candidates ON candidates.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
), alike AS (
    SELECT relnamespace FROM tables GROUP BY relnamespace
    HAVING count(*) FILTER (WHERE has_namesake) * 2 > count(*)
)
SELECT oid, nspname AS name FROM candidates
WHERE nspname LIKE 'tenant\\_%%' OR (NOT %(registered)s AND oid IN (SELECT relnamespace FROM alike))
ORDER BY nspname COLLATE "C"
"""


@dataclass(frozen=True)
class Site:
    """The database that is examined.

    Attributes:
        link: The connection, with its transaction open.
        database: The database's name.
        role: Who looks.
        server: The server's version.
        path: The `search_path` of a session that says nothing about it.
        registry: `readable`, `hidden` from this role, or `absent`.
        tenants: Names of the tenants' schemas by object identifier.
    """

    link: Link
    database: str
    role: str
    server: str
    path: str
    registry: str
    tenants: dict[int, str]

    @property
    def guessed(self) -> bool:
        """Whether there are schemas that are taken for tenants' because they are alike."""
        return not all(name.startswith("tenant_") for name in self.tenants.values())

    async def rows(self, query: str, **values: object) -> list[Row]:
        """Return the rows of a query, to which `%(tenants)s` are the tenants' schemas."""
        return await rows(
            await self.link.connection(), query, tenants=[*self.tenants], shared=[*SHARED], **values
        )

    def need_tenants(self) -> None:
        """Raise `NothingToLookAt` if no schema is a tenant's."""
        if not self.tenants:
            raise NothingToLookAt("no schema is a tenant's (tenant_*), or like another one")

    def need_registry(self) -> None:
        """Raise `NothingToLookAt` if there is no registry, and `NotAllowed` if it cannot be read."""
        if self.registry == "absent":
            raise NothingToLookAt("there is no registry (shared.tenants)")
        if self.registry == "hidden":
            raise NotAllowed(
                "the role may not read the registry",
                f"GRANT USAGE ON SCHEMA shared TO {ident(self.role)}; GRANT SELECT ON shared.tenants,"
                f" shared.components, shared.tenant_versions TO {ident(self.role)};",
            )


async def rows(conn: AsyncConnection[Any], query: str, **values: object) -> list[Row]:
    """Return the rows of a query as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()


async def server_path(conn: AsyncConnection[Any]) -> str:
    """Return the `search_path` of the server, as far as this session, which may have its own, shows it."""
    (row,) = [row for row in await rows(conn, _SETTINGS) if row["name"] == "search_path"]
    of_the_server = row["source"] in ("default", "configuration file", "command line")
    return str(row["setting"] if of_the_server else row["boot_val"])


async def survey(link: Link, path: str) -> Site:
    """Find the registry and the tenants.

    Args:
        link: The connection, in its transaction.
        path: What `server_path` returned.
    """
    conn = await link.connection()
    (said,) = await rows(conn, _SITE)
    found = await rows(conn, _REGISTRY)
    registry = "absent" if not found else "readable" if found[0]["readable"] else "hidden"
    tenants = {
        row["oid"]: row["name"] for row in await rows(conn, _TENANTS, registered=bool(found))
    }
    return Site(link, **said, path=path, registry=registry, tenants=tenants)
