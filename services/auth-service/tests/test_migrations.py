from __future__ import annotations

import asyncio

import pytest

from auth_service.app import MIGRATIONS
from mtenant_chassis.testing import Place
from mtenant_database.migrate import Fleet, Migrator, read_migrations

FILES = read_migrations(MIGRATIONS, "auth")
TENANT = {
    "api_keys",
    "email_verification_tokens",
    "password_reset_tokens",
    "refresh_tokens",
    "sessions",
    "users",
}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"auth": MIGRATIONS})


def tables(place: Place, schema: str) -> set[str]:
    rows = place.rows(f"select tablename from pg_tables where schemaname = '{schema}'")
    return {row[0] for row in rows}


def test_every_migration_has_a_way_back() -> None:
    for migration in (*FILES.shared, *FILES.tenant):
        assert migration.down is not None


def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    async def main() -> None:
        tenant = await lonely.new_tenant()
        schema = f"tenant_{tenant}"
        before = tables(lonely, schema)
        async with Fleet(lonely.owner, settings=lonely.migrate) as fleet:
            assert (await fleet.to("auth", 0)).exit_code == 0
            assert before - tables(lonely, schema) == TENANT
            assert (await fleet.to("auth", len(list(FILES.tenant)))).exit_code == 0
        assert tables(lonely, schema) == before

    asyncio.run(main())


def test_the_shared_table_goes_and_comes_again(lonely: Place) -> None:
    async def main() -> None:
        before = tables(lonely, "shared")
        async with Migrator(
            lonely.owner, FILES.shared, schema="shared", settings=lonely.migrate
        ) as migrator:
            await migrator.to(0)
            assert before - tables(lonely, "shared") == {"signing_keys"}
            await migrator.up()
        assert tables(lonely, "shared") == before

    asyncio.run(main())
