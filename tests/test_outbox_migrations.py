"""The tables of events, made by mtenant-database from the files that events brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from mtenant_database.migrate import Fleet, provision, read_migrations
from mtenant_database.migrate.deployment import deploy
from mtenant_events.store.errors import InstallationRefused
from mtenant_events.store.installation import MIGRATIONS, install, upgrade

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

COLUMNS = (
    "select table_schema, table_name, column_name, data_type, is_nullable, column_default,"
    " collation_name from information_schema.columns where table_name in ('outbox', 'event_inbox')"
    " order by 1, 2, 3"
)


@pytest.fixture
def migrated(scratch_database: ScratchDatabase) -> ScratchDatabase:
    """A registry, the outbox, and the tenant acme with an inbox."""
    place = scratch_database
    files = read_migrations(MIGRATIONS, "events")
    asyncio.run(deploy(place.deploy, files, settings=place.settings))
    asyncio.run(provision(place.deploy, "acme", settings=place.settings))
    return place


def test_its_files_are_a_component_of_shared_and_of_tenants(migrated: ScratchDatabase) -> None:
    async def status() -> Any:
        async with Fleet(migrated.deploy, settings=migrated.settings) as fleet:
            return await fleet.status()

    found = [one for group in asyncio.run(status()).values() for one in group]

    assert [(one.component, one.version) for one in found if one.tenant == "acme"] == [
        ("events", 1)
    ]
    assert migrated.value("select count(*) from eventing.outbox") == 0


def test_the_application_may_use_them(migrated: ScratchDatabase) -> None:
    with psycopg.connect(migrated.app) as conn:
        conn.execute("select set_config('mtenant.tenant_id', 'acme', true)")
        conn.execute(
            "insert into eventing.outbox (tenant, key, subject, headers, body)"
            " values ('acme', 'k', 's', '{}', '')"
        )
        conn.execute("insert into tenant_acme.event_inbox values ('c', 'e')")

    assert migrated.value("select count(*) from eventing.outbox") == 1


@pytest.mark.parametrize("command", [install, upgrade])
def test_the_command_of_events_keeps_its_hands_off(migrated: ScratchDatabase, command: Any) -> None:
    with pytest.raises(InstallationRefused, match="mtenant-db migrate up"):
        command(migrated.owner)


def test_both_ways_make_the_same_tables(migrated: ScratchDatabase) -> None:
    by_database = migrated.rows(COLUMNS)
    migrated.rows("drop table eventing.outbox")
    migrated.rows("drop table tenant_acme.event_inbox")

    install(migrated.admin, inboxes=["tenant_acme"])

    assert migrated.rows(COLUMNS) == by_database
