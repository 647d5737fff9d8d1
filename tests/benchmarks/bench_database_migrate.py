"""What migrations cost beside the bare statements: a new tenant, a fleet of 1,000, nothing to do.

    python tests/benchmarks/bench_database_migrate.py

- Provisioning: 11 tables and 30 indexes in one file, beside the same DDL as one script in one
  transaction; and in the files of three components, each of which has a transaction of its own. All
  make a connection first.
- One added column over 1,000 tenants, beside a loop of BEGIN, SET LOCAL search_path, ALTER TABLE,
  COMMIT over one connection: no ledger, no lock, no check of what the file did; and beside
  `migrate_schemas` of django-tenants, on 20 of the same schemas, because all of them take it too long.
- Nothing to do, beside the same.

Times of the fleet are for one tenant.

PostgreSQL is started for it, or $DATABASE_URL names a superuser's database.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from harness import Bound, Case, Comparison, report
from peer_django import MigrateSchemas
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate import Fleet, History, MigrateSettings, Migration, Rollout, provision
from mtenant_devstack import Stack

TENANTS = 1000
SAMPLE = 20  # for django-tenants
OWNER = "bench_migrate_owner"
PROVISION = "provision(), 11 tables and 30 indexes"
COMPONENTS = "provision(), the same in three components"
SCRIPT = "the same DDL as one script"
FLEET, LOOP = "Fleet.up, one column", "bare transactions in a loop"
DJANGO = f"migrate_schemas, one column, on {SAMPLE} of them"
LOOK, DJANGO_LOOK = (
    "Fleet.up, nothing to do",
    f"migrate_schemas, nothing to do, on {SAMPLE} of them",
)


def tables(component: str, count: int, indexes: int) -> str:
    """Return the DDL of tables as services have them, with indexes."""
    columns = [f"c{number} text" for number in range(6)]
    said = [
        f"create table {component}_{number} (id bigint generated always as identity primary key,"
        f" {', '.join(columns)}, created_at timestamptz not null default now());"
        for number in range(count)
    ]
    said += [
        f"create index on {component}_{number % count} (c{number // count});"
        for number in range(indexes)
    ]
    return "\n".join(said)


SCRIPTS = {
    "auth": tables("auth", 3, 8),
    "contact": tables("contact", 4, 12),
    "deal": tables("deal", 4, 10),
}
THREE = History(Migration.of(name, 1, "tables", text) for name, text in SCRIPTS.items())
ONE = History([Migration.of("crm", 1, "tables", "\n".join(SCRIPTS.values()))])


async def provision_many(dsn: str, names: Iterator[str], count: int) -> None:
    """Make tenants, one after the other."""
    for name in itertools.islice(names, count):
        await provision(dsn, name, settings=MigrateSettings(owner=OWNER))


async def run_scripts(dsn: str, names: Iterator[str], count: int) -> None:
    """Make schemas with the same tables."""
    for name in itertools.islice(names, count):
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute(
                f"begin; set local role {OWNER}; create schema {name}; set local search_path to"
                f" {name}; {' '.join(SCRIPTS.values())} commit".encode()
            )


def provisioning(one: str, three: str) -> Comparison:
    """Compare provisioning with a script."""
    names = [(f"p{number}" for number in itertools.count()) for _ in range(3)]
    return Comparison(
        "A new tenant",
        [
            Case(PROVISION, lambda n: asyncio.run(provision_many(one, names[0], n))),
            Case(COMPONENTS, lambda n: asyncio.run(provision_many(three, names[1], n))),
            Case(SCRIPT, lambda n: asyncio.run(run_scripts(one, names[2], n))),
        ],
        [Bound(PROVISION, SCRIPT, 1.5)],
        rounds=31,
        seconds_a_turn=0.1,
    )


async def set_up_fleet(dsn: str) -> None:
    """Make 1,000 tenants with 11 tables and 30 indexes."""
    settings = MigrateSettings(owner=OWNER)
    async with Fleet(dsn, settings=settings) as fleet:
        await fleet.install()
        await fleet.register(History([fleet_file(1)]))
    names = iter([f"f{number}" for number in range(TENANTS)])

    async def worker() -> None:
        await provision_many(dsn, names, TENANTS)

    await asyncio.gather(*(worker() for _ in range(4)))


def fleet_file(version: int) -> Migration:
    """Return the migration that adds a column, or at 1 makes the tables."""
    text = (
        "\n".join(SCRIPTS.values())
        if version == 1
        else f"alter table contact_0 add ours_{version} int"
    )
    return Migration.of("fleet", version, f"v{version}", text)


async def migrate_fleet(dsn: str, version: int) -> None:
    """Add a column to every tenant, by the library."""
    async with Fleet(dsn, settings=MigrateSettings(owner=OWNER)) as fleet:
        await fleet.register(History(fleet_file(one) for one in range(1, version + 1)))
        found = await fleet.up(rollout=Rollout(parallel=4))
        if len(found.results) != TENANTS or found.exit_code:
            raise RuntimeError(found.to_table())


async def alter_in_a_loop(dsn: str, version: int) -> None:
    """Add a column to every tenant, by hand."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        for number in range(TENANTS):
            async with conn.transaction():
                path = sql.SQL("set local search_path to {}").format(
                    sql.Identifier(f"tenant_f{number}")
                )
                await conn.execute(f"set local role {OWNER}".encode())
                await conn.execute(path)
                await conn.execute(f"alter table contact_0 add theirs_{version} int".encode())


def migrate_with_django(django: MigrateSchemas) -> None:
    """Add a column to some tenants, by django-tenants."""
    django.add_migration()
    django.migrate()


async def look_again(dsn: str) -> None:
    """Ask whether there is something to do."""
    async with Fleet(dsn, settings=MigrateSettings(owner=OWNER)) as fleet:
        if (await fleet.up()).results:
            raise RuntimeError("there was something to do")


class Passes(Comparison):
    """A comparison whose cases each go once over their tenants in a round."""

    def _calibrate(self, case: Case) -> int:
        tenants = SAMPLE if case.name in (DJANGO, DJANGO_LOOK) else TENANTS
        case.run(tenants)
        return tenants


def fleet(dsn: str, folder: Path) -> list[Comparison]:
    """Compare runs over the fleet with a loop and with django-tenants."""
    asyncio.run(set_up_fleet(dsn))
    django = MigrateSchemas(dsn, [f"tenant_f{number}" for number in range(SAMPLE)], folder)
    ours, theirs = itertools.count(2), itertools.count(2)
    changing = Passes(
        "One added column over 1,000 tenants, a tenant",
        [
            Case(FLEET, lambda n: asyncio.run(migrate_fleet(dsn, next(ours)))),
            Case(LOOP, lambda n: asyncio.run(alter_in_a_loop(dsn, next(theirs)))),
            Case(DJANGO, lambda n: migrate_with_django(django)),
        ],
        [Bound(FLEET, LOOP, 4), Bound(FLEET, DJANGO, 1 / 20)],
        rounds=3,
    )
    looking = Passes(
        "Nothing to do over 1,000 tenants, a tenant",
        [
            Case(LOOK, lambda n: asyncio.run(look_again(dsn))),
            Case(DJANGO_LOOK, lambda n: django.migrate()),
        ],
        [Bound(LOOK, DJANGO_LOOK, 1 / 100)],
        rounds=3,
    )
    return [changing, looking]


def prepare(admin: str, name: str) -> str:
    """Make an empty database and its owner, who is no superuser; return its connection string."""
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"drop database if exists {name} with (force)".encode())
        if not conn.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
            conn.execute(f"create role {OWNER} login".encode())
        conn.execute(f"create database {name} owner {OWNER}".encode())
    return make_conninfo(admin, dbname=name, user=OWNER)


async def register(dsn: str, files: History) -> None:
    """Register files in a new database."""
    async with Fleet(dsn, settings=MigrateSettings(owner=OWNER)) as fleet:
        await fleet.install()
        await fleet.register(files)


def main() -> int:
    """Run both, and tell by the exit status whether the promises were kept."""
    given = os.environ.get("DATABASE_URL")
    with Stack(() if given else ("postgres",)) as stack, tempfile.TemporaryDirectory() as folder:
        admin = given or stack.postgres.url
        one, three = (prepare(admin, f"bench_migrate_{name}") for name in ("one", "three"))
        asyncio.run(register(one, ONE))
        asyncio.run(register(three, THREE))
        fleets = fleet(prepare(admin, "bench_migrate_fleet"), Path(folder))
        return report("database_migrate", [provisioning(one, three), *fleets])


if __name__ == "__main__":
    sys.exit(main())
