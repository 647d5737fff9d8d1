"""Events from a request's transaction to another service's handler, by a real NATS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis import App, Chassis, CurrentChassis, Router, Tx, create_app, requires
from mtenant_chassis.nats import NatsEvents, nats_events
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_config import Secret
from mtenant_database import Transaction
from mtenant_devstack import Stack
from mtenant_errors import Unprocessable
from mtenant_events import (
    Event,
    EventBus,
    EventsConfig,
    EventsUnavailable,
    Permanent,
    Subscriptions,
    event_type,
)
from mtenant_logger import get_logger
from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio


@event_type("pen.filled")
@dataclass(frozen=True)
class PenFilled:
    pen: str


class Refused(Unprocessable):
    code, message = "REFUSED", "no"


def pens_router() -> Router:
    router = Router(prefix="/api/pens")

    @router.post("/{pen}", status_code=201, dependencies=[requires("pens:write")])
    async def fill(pen: str, tx: Tx, chassis: CurrentChassis) -> None:
        await chassis.outbox.add(tx, PenFilled(pen), key=pen)
        if pen == "refused":
            raise Refused

    return router


class Seen:
    """What a handler saw, and what it wrote."""

    def __init__(self) -> None:
        self.events: list[Event[PenFilled]] = []
        self.error: Exception | None = None

    def subscriptions(self, *, wait: asyncio.Event | None = None) -> Subscriptions:
        subs = Subscriptions()

        @subs.on(PenFilled, name="note_pens", first_delay=0.01)
        async def note_pens(event: Event[PenFilled], tx: Transaction) -> None:
            self.events.append(event)
            get_logger("handler").info("handled")
            if wait is not None:
                await wait.wait()
            if self.error is not None:
                raise self.error
            await tx.execute(
                "insert into notes (id, title) values (%s, %s)", [uuid4(), event.data.pen]
            )

        return subs


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Streams that no other test has."""
    name = uuid4().hex[:8]
    return EventsConfig(
        url=Secret(nats_url),
        source="/pen-service",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
    )


Make = Callable[..., App]
WAITING = {
    "events_outbox_pending",
    "events_outbox_failing",
    "events_outbox_oldest_age_seconds",
}


@pytest.fixture
def make(place: Place, issuer: Issuer, config: EventsConfig) -> Make:
    def made(service: str = "pen-service", subscriptions: Any = None, **options: Any) -> App:
        return create_app(
            options.pop("at", place).settings(service),
            routers=[pens_router()],
            keys=issuer.keys,
            events=nats_events(subscriptions, config=options.pop("config", config)),
            **options,
        )

    return made


def waiting(place: Place, tenant: str) -> int:
    found = place.rows(f"select count(*) from eventing.outbox where tenant = '{tenant}'")
    return int(found[0][0])


def titles(place: Place, tenant: str) -> list[str]:
    rows = place.rows(f"select title from tenant_{tenant}.notes order by created_at")
    return [title for (title,) in rows]


def events_of(app: App) -> NatsEvents:
    events = app.state.chassis._running.events
    assert isinstance(events, NatsEvents)
    return events


async def test_an_event_of_a_committed_request_is_handled_in_the_same_tenant(
    *, make: Make, place: Place, issuer: Issuer, acme: str, other: str, eventually: Any
) -> None:
    seen = Seen()
    pens, notes = make(), make("note-service", seen.subscriptions())
    with recorded_logs() as logs:
        async with running(pens) as client, running(notes):
            member = issuer.bearer(acme, "member")
            made = await client.post("/api/pens/blue", headers={**member, "x-request-id": "r-1"})
            refused = await client.post("/api/pens/refused", headers=member)
            await client.post("/api/pens/red", headers=issuer.bearer(other, "member"))
            await eventually(lambda: titles(place, acme) and titles(place, other))
            await eventually(lambda: waiting(place, acme) == 0)

    assert (made.status_code, refused.status_code) == (201, 422)
    assert titles(place, acme) == ["blue"]
    assert titles(place, other) == ["red"]
    event = next(one for one in seen.events if one.tenant == acme)
    assert (event.type, event.source, event.actor) == ("pen.filled", "/pen-service", "user:u1")
    assert event.correlation_id == "r-1"
    (line,) = [
        one for one in logs.records if one["logger"] == "handler" and one["tenant_id"] == acme
    ]
    assert (line["service"], line["request_id"]) == ("note-service", "r-1")


async def test_what_a_tenant_has_published_can_be_deleted_and_others_keep_theirs(
    *, make: Make, place: Place, issuer: Issuer, acme: str, other: str, eventually: Any, config: Any
) -> None:
    pens = make()
    async with running(pens) as client:
        for tenant in (acme, other):
            await client.post("/api/pens/blue", headers=issuer.bearer(tenant, "member"))
        await eventually(lambda: waiting(place, acme) == waiting(place, other) == 0)
        await pens.state.chassis.forget_events(acme)
        async with EventBus.connect(config) as bus:
            left = [stream.messages for stream in await bus.topology.status()]

    assert left == [1, 0]


async def test_without_nats_writes_work_and_their_events_wait_and_then_travel(
    issuer: Issuer, config: EventsConfig, make: Make, eventually: Any
) -> None:
    with Stack(["postgres", "nats"], mode="durable") as stack:
        own = await asyncio.to_thread(Place.make, stack.postgres.url)
        tenant = await own.new_tenant()
        own.rows(
            f"set role {own.migrate.owner}; create table tenant_{tenant}.notes (id uuid primary key,"
            " title text not null, created_at timestamptz not null default clock_timestamp())"
        )
        stack.nats.kill()
        here = EventsConfig(
            **{**vars(config), "url": Secret(stack.nats.url)}  # as it is, but at another server
        )
        member = issuer.bearer(tenant, "member")
        app = make("pen-service", Seen().subscriptions(), at=own, config=here)
        async with running(app) as client:  # it starts without, too
            for _ in range(2):
                for number in range(5):
                    answer = await client.post(f"/api/pens/p{number}", headers=member)
                    assert answer.status_code == 201
                assert waiting(own, tenant) == 5
                assert (await client.get("/ready")).status_code == 200
                await asyncio.sleep(1.1)  # an answer of /health is a second old at most
                health = await client.get("/health")
                assert (health.status_code, health.json()["services"]["events"]) == (
                    503,
                    "unhealthy",
                )
                before = len(titles(own, tenant))
                await asyncio.to_thread(stack.nats.start)
                await eventually(lambda: waiting(own, tenant) == 0)
                await eventually(lambda before=before: len(titles(own, tenant)) == before + 5)
                await asyncio.to_thread(stack.nats.kill)
            await asyncio.to_thread(stack.nats.start)


async def numbers(client: Any) -> dict[str, float]:
    """Return what `/metrics` tells of events."""
    text = (await client.get("/metrics")).text
    lines = [line.split() for line in text.splitlines() if line.startswith("events_")]
    return {name: float(value) for name, value in lines}


async def test_metrics_tell_what_waits_and_what_was_given_up(
    *,
    make: Make,
    config: EventsConfig,
    postgres_dsn: str,
    unused_port: int,
    issuer: Issuer,
    eventually: Any,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("mtenant_chassis.tally.AGE", 0.0)
    own = await asyncio.to_thread(Place.make, postgres_dsn)
    tenant = await own.new_tenant()
    subs = Subscriptions()

    @subs.on(PenFilled, name="refuse_pens")
    async def refuse_pens(event: Event[PenFilled]) -> None:
        raise Permanent("no")

    member = issuer.bearer(tenant, "member")
    away = EventsConfig(**{**vars(config), "url": Secret(f"nats://127.0.0.1:{unused_port}")})
    async with running(make(at=own, config=away)) as client:
        assert await numbers(client) == dict.fromkeys(WAITING, 0.0)
        for pen in ("blue", "red"):
            await client.post(f"/api/pens/{pen}", headers=member)
        told = await numbers(client)
        assert set(told) == WAITING
        assert told["events_outbox_pending"] == 2
        assert told["events_outbox_oldest_age_seconds"] > 0
    app = make("pen-service", subs, at=own)
    async with running(app) as client:
        await eventually(lambda: waiting(own, tenant) == 0)
        async with asyncio.timeout(30):
            while (told := await numbers(client)).get("events_dead_letters") != 2:
                await asyncio.sleep(0.01)
        assert told == {**dict.fromkeys(WAITING, 0.0), "events_dead_letters": 2}
        own.rows("drop schema eventing cascade")
        assert await numbers(client) == {"events_dead_letters": 2}


async def test_a_handler_that_fails_is_called_again_and_its_effect_is_there_once(
    make: Make, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    seen = Seen()
    seen.error = LookupError("not yet")
    app = make("pen-service", seen.subscriptions())
    async with running(app) as client:
        await client.post("/api/pens/blue", headers=issuer.bearer(acme, "member"))
        await eventually(lambda: len(seen.events) == 2)
        seen.error = None
        await eventually(lambda: titles(place, acme))

    assert titles(place, acme) == ["blue"]


async def test_at_the_end_a_handler_that_runs_is_awaited(
    make: Make, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    seen, go_on = Seen(), asyncio.Event()
    app = make("pen-service", seen.subscriptions(wait=go_on))
    async with running(app) as client:
        await client.post("/api/pens/blue", headers=issuer.bearer(acme, "member"))
        await eventually(lambda: seen.events)
        asyncio.get_running_loop().call_later(0.1, go_on.set)

    assert titles(place, acme) == ["blue"]


async def test_two_instances_of_a_service_share_the_events_and_a_second_run_goes_on(
    make: Make, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    one, two = Seen(), Seen()
    first, second = (make("pen-service", seen.subscriptions()) for seen in (one, two))
    member = issuer.bearer(acme, "member")
    async with running(first) as client, running(second):
        for number in range(20):
            await client.post(f"/api/pens/p{number}", headers=member)
        await eventually(lambda: len(titles(place, acme)) == 20)
    async with running(first) as client:
        await client.post("/api/pens/again", headers=member)
        await eventually(lambda: len(titles(place, acme)) == 21)

    assert len(one.events) + len(two.events) == 21


async def test_handlers_that_need_the_app_are_declared_with_it(
    make: Make, issuer: Issuer, acme: str, eventually: Any
) -> None:
    found: list[Chassis] = []

    def subscriptions(chassis: Chassis) -> Subscriptions:
        subs = Subscriptions()

        @subs.on(PenFilled, name="forget_pens", broadcast=True)
        async def forget_pens(event: Event[PenFilled]) -> None:
            found.append(chassis)

        return subs

    app = make("pen-service", subscriptions)
    async with running(app) as client:
        await eventually(lambda: events_of(app)._group)
        group = events_of(app)._group
        assert group is not None
        await group.ready()
        await client.post("/api/pens/blue", headers=issuer.bearer(acme, "member"))
        await eventually(lambda: found)

    assert found == [app.state.chassis]


async def test_without_a_url_events_wait_and_that_is_said_once(
    place: Place, issuer: Issuer, acme: str
) -> None:
    app = create_app(
        place.settings("pen-service"),
        routers=[pens_router()],
        keys=issuer.keys,
        events=nats_events(Subscriptions()),
    )
    with recorded_logs() as logs:
        async with running(app) as client:
            answer = await client.post("/api/pens/blue", headers=issuer.bearer(acme, "member"))
            assert (await client.get("/health")).status_code == 200
            await app.state.chassis.forget_events(acme)  # nothing was published

    assert answer.status_code == 201
    assert waiting(place, acme) == 1
    assert [one["level"] for one in logs.records if "NATS_URL" in one["message"]] == ["warning"]


async def test_a_nats_that_is_away_holds_neither_the_start_nor_the_end(
    make: Make, config: EventsConfig, unused_port: int
) -> None:
    gone = EventsConfig(
        **{**vars(config), "url": Secret(f"nats://u:hunter2@127.0.0.1:{unused_port}")}
    )
    with recorded_logs() as logs:
        async with asyncio.timeout(4):  # connecting alone may take five seconds
            app = make(config=gone)
            async with running(app) as client:
                assert (await client.get("/ready")).status_code == 200
                with pytest.raises(EventsUnavailable):
                    await app.state.chassis.forget_events("acme")

    assert "hunter2" not in json.dumps(logs.records)


async def test_streams_that_an_operator_has_set_stay_as_they_are(
    make: Make, config: EventsConfig, eventually: Any
) -> None:
    larger = EventsConfig(**{**vars(config), "max_age": 2 * config.max_age})
    async with EventBus.connect(larger) as bus:
        await bus.topology.ensure()
        app = make(subscriptions=Seen().subscriptions())
        async with running(app):
            await eventually(lambda: events_of(app)._group)
        found = await bus.topology.status()

    assert [stream.differences for stream in found] == [(), ()]


async def test_a_bus_that_is_closed_for_ever_is_replaced(
    *, make: Make, place: Place, issuer: Issuer, acme: str, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("mtenant_chassis.nats.PAUSE", 0.01)
    seen = Seen()
    app = make("pen-service", seen.subscriptions())
    async with running(app) as client:
        await eventually(lambda: events_of(app)._group)
        bus = events_of(app)._bus
        assert bus is not None
        await bus.close()
        await eventually(lambda: events_of(app)._bus not in {None, bus})
        await client.post("/api/pens/blue", headers=issuer.bearer(acme, "member"))
        await eventually(lambda: titles(place, acme))

    assert titles(place, acme) == ["blue"]


async def test_without_an_outbox_the_program_works_and_says_what_is_missing(
    make: Make, postgres_dsn: str, issuer: Issuer, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("mtenant_chassis.nats.PAUSE", 0.05)
    own = await asyncio.to_thread(Place.make, postgres_dsn)
    own.rows("drop schema eventing cascade")
    with recorded_logs() as logs:
        async with running(make("pen-service", Seen().subscriptions(), at=own)) as client:
            await eventually(lambda: [one for one in logs.records if "code" in one])
            assert (await client.get("/ready")).status_code == 200

    told = next(one for one in logs.records if "code" in one)
    assert told["code"] == "OUTBOX_NOT_INSTALLED"
