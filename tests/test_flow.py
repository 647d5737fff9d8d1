"""One program on all five libraries: settings, logs, a tenant's change, its event, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from mtenant_config import from_env
from mtenant_database import Database, DatabaseConfig, StatementFault, Transaction
from mtenant_database.migrate import Fleet, History, Migration, provision, read_migrations
from mtenant_database.migrate.deployment import deploy
from mtenant_errors import NotFound
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions, event_context, event_type
from mtenant_events.outbox import Outbox
from mtenant_events.relay import Relay
from mtenant_events.store.installation import MIGRATIONS
from mtenant_logger import get_logger, log_context
from mtenant_logger.testing import Recorder, recorded_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

DEADLINE = 30.0  # seconds; only a test that fails waits so long

DEALS = Migration.of("deal", 1, "deals", "create table deals (id text primary key, stage text)")
ACTIVITIES = Migration.of(
    "communication",
    1,
    "activities",
    "create table activities (id bigint generated always as identity primary key, said text)",
)

log = get_logger("crm")


@event_type("deal.closed_won")
@dataclass(frozen=True)
class DealClosedWon:
    deal_id: str
    amount: int


class DealNotFound(NotFound):
    code, message = "DEAL_NOT_FOUND", "deal {id} not found"


class Program:
    """Both sides of it: what closes deals, and what logs an activity for each."""

    def __init__(self, db: Database, bus: EventBus, relay: Relay, failures: int = 0) -> None:
        self.db = db
        self.outbox = Outbox(bus.config, wake=relay.wake)
        self.handled: list[Event[Any]] = []
        self._failures = failures
        self._done = asyncio.Condition()

    async def close_deal(self, tenant: str, deal_id: str, amount: int) -> None:
        with (
            log_context(tenant_id=tenant, request_id=f"r-{deal_id}"),
            event_context(actor="u-7", correlation_id=f"r-{deal_id}"),
        ):
            async with self.db.tenant(tenant).transaction() as tx:
                changed = await tx.execute(
                    "update deals set stage = 'closed_won' where id = %s", [deal_id]
                )
                if not changed.rows_affected:
                    raise DealNotFound(id=deal_id)
                await self.outbox.add(tx, DealClosedWon(deal_id, amount), key=deal_id)
            log.info("deal closed", deal_id=deal_id)

    def subscriptions(self) -> Subscriptions:
        subs = Subscriptions()

        @subs.on(DealClosedWon, name="log_activity", first_delay=0.01)
        async def log_activity(event: Event[DealClosedWon], tx: Transaction) -> None:
            with log_context(tenant_id=event.tenant, request_id=event.correlation_id or ""):
                said = f"{event.data.deal_id} won for {event.data.amount} by {event.actor}"
                await tx.execute("insert into activities (said) values (%s)", [said])
                if self._failures:
                    self._failures -= 1
                    raise ConnectionError("the mail server is away")
                log.info("activity logged", event_id=event.id)
            async with self._done:
                self.handled.append(event)
                self._done.notify_all()

        return subs

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(DEADLINE), self._done:
            await self._done.wait_for(lambda: len(self.handled) >= number)


@pytest.fixture
def logs() -> Iterator[Recorder]:
    with recorded_logs() as recorder:
        yield recorder


@pytest.fixture
def environ(scratch_database: ScratchDatabase, nats_url: str) -> dict[str, str]:
    """What such a program is started with: a database with two tenants, and a stream of its own."""
    place = scratch_database

    async def prepare() -> None:
        await deploy(place.deploy, read_migrations(MIGRATIONS, "events"), settings=place.settings)
        async with Fleet(place.deploy, settings=place.settings) as fleet:
            await fleet.register(History([DEALS, ACTIVITIES]))
        for tenant in ("acme", "globex"):
            await provision(place.deploy, tenant, settings=place.settings)
            place.rows(f"insert into tenant_{tenant}.deals values ('d7', 'open')")

    asyncio.run(prepare())
    name = str(place.value("select current_database()"))
    return {
        "DATABASE_URL": place.app,
        "NATS_URL": nats_url,
        "NATS_SUBJECT_PREFIX": name,
        "NATS_STREAM": name.upper(),
        "NATS_DEAD_LETTER_STREAM": f"{name.upper()}_DLQ",
        "ENVIRONMENT": "development",
    }


@asynccontextmanager
async def running(
    environ: dict[str, str], place: ScratchDatabase, failures: int = 0
) -> AsyncIterator[Program]:
    async with (
        Database(from_env(DatabaseConfig, environ=environ)) as db,
        EventBus.connect(EventsConfig.from_env(environ)) as bus,
    ):
        await bus.topology.ensure()
        async with Relay(place.owner, bus.transport) as relay:
            program = Program(db, bus, relay, failures)
            group = bus.include(
                program.subscriptions(),
                service="communication",
                unit_of_work=lambda event: db.tenant(event.tenant).transaction(),
            )
            await group.ready()
            yield program


def _said(place: ScratchDatabase, tenant: str) -> list[object]:
    return [said for (said,) in place.rows(f"select said from tenant_{tenant}.activities")]


def test_a_change_and_its_event_come_to_one_effect_in_the_same_tenant(
    environ: dict[str, str], scratch_database: ScratchDatabase, logs: Recorder
) -> None:
    async def run() -> list[Event[Any]]:
        async with running(environ, scratch_database) as program:
            await program.close_deal("acme", "d7", 900)
            await program.wait_for(1)
            return program.handled

    (event,) = asyncio.run(run())

    assert (event.tenant, event.actor, event.correlation_id) == ("acme", "u-7", "r-d7")
    assert event.data == DealClosedWon("d7", 900)
    assert _said(scratch_database, "acme") == ["d7 won for 900 by u-7"]
    assert _said(scratch_database, "globex") == []
    assert scratch_database.value("select stage from tenant_globex.deals") == "open"
    assert scratch_database.value("select count(*) from eventing.outbox") == 0
    told = [one for one in logs.records if one["message"] in {"deal closed", "activity logged"}]
    assert [(one["tenant_id"], one["request_id"]) for one in told] == [("acme", "r-d7")] * 2


def test_what_is_rolled_back_was_never_announced(
    environ: dict[str, str], scratch_database: ScratchDatabase
) -> None:
    async def run() -> list[Event[Any]]:
        async with running(environ, scratch_database) as program:
            with pytest.raises(DealNotFound):
                await program.close_deal("acme", "no such deal", 1)
            with pytest.raises(StatementFault):
                await program.db.tenant("acme").run(_announce_and_fail, program.outbox)
            await program.close_deal("globex", "d7", 5)
            await program.wait_for(1)
            return program.handled

    handled = asyncio.run(run())

    assert [event.tenant for event in handled] == ["globex"]
    assert _said(scratch_database, "acme") == []


async def _announce_and_fail(tx: Transaction, outbox: Outbox) -> None:
    await outbox.add(tx, DealClosedWon("d7", 1))
    await tx.execute("select 1/0")


def test_a_handler_that_fails_twice_has_its_effect_once(
    environ: dict[str, str], scratch_database: ScratchDatabase
) -> None:
    async def run() -> None:
        async with running(environ, scratch_database, failures=2) as program:
            await program.close_deal("acme", "d7", 900)
            await program.wait_for(1)

    asyncio.run(run())

    assert _said(scratch_database, "acme") == ["d7 won for 900 by u-7"]
