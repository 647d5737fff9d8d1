"""Installation: the registry's own tables, migrated like anybody's, and what the application may read."""

from __future__ import annotations

from psycopg import sql

from mtenant_database.migrate import planner
from mtenant_database.migrate.errors import NotInstalled
from mtenant_database.migrate.ledger import LEDGER, Ledger, create_ledger
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.planner import Step, Target
from mtenant_database.migrate.registry import LIBRARY, OWN, SHARED, TABLES
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Work


async def install(link: Link, settings: MigrateSettings) -> None:
    """Make or upgrade the registry. A second time nothing changes.

    Raises:
        NotInstalled: The registry is newer than this program.
    """
    work = Work(link, SHARED, settings)
    await prepare(work)

    def choose(ledger: Ledger) -> list[Step]:
        if ledger.version(LIBRARY) > OWN[-1].version:
            raise NotInstalled(
                f"the registry is at version {ledger.version(LIBRARY)}, and this program knows "
                f"{OWN[-1].version}: upgrade mtenant-database"
            )
        return planner.plan(OWN, ledger, Target.newest(OWN), str(SHARED))

    while (done := await work.step(choose)) is not None:
        if done.left == 0:
            break
    if settings.app is not None:
        grants = _grants(settings.app).as_string()
        await in_transaction(link, settings, lambda inside: inside.run(grants), lock=SHARED)


async def prepare(work: Work) -> None:
    """Make the ledger of a schema, and the schema `shared`, if they are not there.

    Raises:
        NotInstalled: There is no such schema.
    """
    place = work.place
    there = sql.SQL("SELECT to_regclass({}) IS NOT NULL").format(
        sql.Literal(place.ledger.as_string())
    )

    async def is_there(link: Link) -> bool:
        return await first_value(link, there) == "t"

    async def make(link: Link) -> None:
        name = sql.Literal(sql.Identifier(place.schema).as_string())
        exists = sql.SQL("SELECT to_regnamespace({}) IS NOT NULL").format(name)
        if await first_value(link, exists) != "t":
            if place != SHARED:
                raise NotInstalled(f"there is no schema {place.schema}: make it first")
            await link.run("CREATE SCHEMA shared")
        await link.run(create_ledger(place).as_string())

    if not await in_transaction(work.link, work.settings, is_there):
        await in_transaction(work.link, work.settings, make, lock=place)


def _grants(app: str) -> sql.Composed:
    """Return what the application is granted on `shared`: it reads the registry, and writes its own."""
    role = sql.Identifier(app)
    tables = sql.SQL(", ").join(
        sql.Identifier("shared", name) for name in (*TABLES, LEDGER) if name != "migrations"
    )
    return sql.SQL(
        "GRANT USAGE ON SCHEMA shared TO {role};"
        "GRANT SELECT ON {tables} TO {role};"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA shared GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA shared GRANT USAGE, SELECT ON SEQUENCES TO {role};"
    ).format(role=role, tables=tables)
