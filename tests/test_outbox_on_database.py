"""Events on mtenant-database: its migrations make the tables, its transactions carry the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, TransactionOpen
from mtenant_database.migrate import Fleet, provision, read_migrations
from mtenant_database.migrate.deployment import deploy
from mtenant_events.config import EventsConfig
from mtenant_events.errors import TenantMismatch
from mtenant_events.event import Event
from mtenant_events.inbox import History, Inbox
from mtenant_events.outbox import Outbox
from mtenant_events.store.errors import InstallationRefused, TransactionRequired
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


OUTBOX = Outbox(EventsConfig())


def _event(tenant: str = "acme") -> Event[Any]:
    return Event(type="deal.won", source="/test", tenant=tenant, data={"n": 1})


def _run(place: ScratchDatabase, work: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Database(DatabaseConfig(url=Secret(place.app), max_idle_conns=1)) as db:
            await work(db)

    asyncio.run(main())


def test_an_event_commits_and_rolls_back_with_the_transaction(migrated: ScratchDatabase) -> None:
    async def work(db: Database) -> None:
        async with db.tenant("acme").transaction() as tx:
            await OUTBOX.add(tx, _event(), key=1)
            with pytest.raises(ZeroDivisionError):
                await fail_in_a_savepoint(tx)
        with pytest.raises(ZeroDivisionError):
            async with db.tenant("acme").transaction() as tx:
                await fail_in_a_savepoint(tx)

    async def fail_in_a_savepoint(tx: Any) -> None:
        async with tx.transaction():
            await OUTBOX.add(tx, _event(), key=2, ordered=True)
            raise ZeroDivisionError

    _run(migrated, work)
    assert migrated.rows("select tenant, key from eventing.outbox") == [("acme", "1")]


def test_a_relay_hears_of_an_event_when_it_is_committed_and_of_no_other(
    migrated: ScratchDatabase,
) -> None:
    heard: list[tuple[bool, object]] = []

    def wake(*, committed: bool = False) -> None:
        heard.append((committed, migrated.value("select count(*) from eventing.outbox")))

    outbox = Outbox(EventsConfig(), wake=wake)

    async def work(db: Database) -> None:
        async with db.tenant("acme").transaction() as tx:
            with pytest.raises(ZeroDivisionError):
                await fail_in_a_savepoint(tx)
            await outbox.add(tx, _event())
            assert heard == []
        with pytest.raises(ZeroDivisionError):
            async with db.tenant("acme").transaction() as tx:
                await fail_in_a_savepoint(tx)

    async def fail_in_a_savepoint(tx: Any) -> None:
        async with tx.transaction():
            await outbox.add(tx, _event())
            raise ZeroDivisionError

    _run(migrated, work)
    assert heard == [(True, 1)]


def test_what_is_no_open_transaction_of_the_tenant_is_refused(migrated: ScratchDatabase) -> None:
    async def work(db: Database) -> None:
        handles: list[Any] = [db, db.shared(), db.tenant("acme")]
        for handle in handles:
            with pytest.raises(TransactionRequired):
                await OUTBOX.add(handle, _event())
        async with db.tenant("acme").transaction() as tx:
            with pytest.raises(TenantMismatch):
                await OUTBOX.add(tx, _event("blue"))
        with pytest.raises(TransactionOpen):
            await OUTBOX.add(tx, _event())

    _run(migrated, work)
    assert migrated.value("select count(*) from eventing.outbox") == 0


def test_a_transaction_of_the_registry_adds_an_event_of_the_tenant_that_it_makes(
    migrated: ScratchDatabase,
) -> None:
    async def work(db: Database) -> None:
        async with db.shared().transaction() as tx:
            await OUTBOX.add(tx, _event("blue"))

    _run(migrated, work)
    assert migrated.rows("select tenant from eventing.outbox") == [("blue",)]


def test_the_inbox_is_in_the_schema_of_the_tenant(migrated: ScratchDatabase) -> None:
    async def work(db: Database) -> None:
        for expected in (History(), None):
            async with db.tenant("acme").transaction() as tx:
                assert await Inbox().begin(tx, "c", "e") == expected

    _run(migrated, work)
    assert migrated.rows("select consumer, event_id from tenant_acme.event_inbox") == [("c", "e")]
