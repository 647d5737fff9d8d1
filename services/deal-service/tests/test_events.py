"""Events by a real NATS: what is told of deals arrives, once, in the order of their moves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from deal_service.subscriptions import subscriptions
from mtenant_chassis.nats import nats_events
from mtenant_config import Secret
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Streams that no other test has, and which forget soon what they had."""
    name = uuid4().hex[:8]
    return EventsConfig(
        url=Secret(nats_url),
        source="/deal-service",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
        duplicate_window=timedelta(seconds=1),
    )


async def test_the_closure_of_deals_arrives_once_each_in_its_tenant(
    *, make_world: Any, acme: str, other: str, config: EventsConfig, eventually: Any
) -> None:
    seen: list[Event[Any]] = []
    subs = Subscriptions()
    names = ("deal.created", "deal.stage_changed", "deal.closed_won", "deal.closed_lost")

    @subs.on(*names, name="watch")
    async def watch(event: Event[Any]) -> None:
        seen.append(event)

    async with make_world(events=nats_events(subs, config=config)) as world:
        contact = world.neighbours.contact(acme)
        mine = await world.deal(acme, contact_ids=[contact])
        theirs = await world.deal(other, currency="JPY")
        asked = {"name": "x", "amount_minor": 5, "currency": "EUR"}
        headers = {**world.bearer(acme), "idempotency-key": "one"}
        same = await asyncio.gather(
            *(world.http.post("/api/deals", json=asked, headers=headers) for _ in range(20))
        )
        refused = await world.put(acme, mine, stage="closed_lost")
        await world.put(acme, mine, stage="closed_won")
        await world.put(other, theirs, stage="closed_lost", lost_reason="price")
        await eventually(lambda: len(seen) >= 7)

    assert refused.status_code == 422
    assert {one.status_code for one in same} <= {201, 409}
    by_deal: dict[tuple[str, str], list[str]] = {}
    for event in seen:
        by_deal.setdefault((event.tenant, event.data["deal_id"]), []).append(event.type)
    (third,) = {one.json()["id"] for one in same if one.status_code == 201}
    assert by_deal == {
        (acme, mine["id"]): ["deal.created", "deal.stage_changed", "deal.closed_won"],
        (other, theirs["id"]): ["deal.created", "deal.stage_changed", "deal.closed_lost"],
        (acme, third): ["deal.created"],
    }
    won = next(event for event in seen if event.type == "deal.closed_won")
    assert won.data == {
        "deal_id": mine["id"],
        "name": "Hundred chairs",
        "amount_minor": 1_250_000,
        "currency": "EUR",
        "owner_id": "u1",
        "contact_ids": [contact],
    }
    assert (won.source, won.actor) == ("/deal-service", "user:u1")
    assert won.correlation_id
    lost = next(event for event in seen if event.type == "deal.closed_lost")
    assert lost.data["lost_reason"] == "price"


def merged(tenant: str, contact: str, into: str | None) -> Event[Any]:
    """What contact-service tells of a contact that is gone."""
    data = {
        "contact_id": contact,
        "email": None,
        "name": "Ada",
        "owner_id": None,
        "version": 2,
        "merged_into": into,
    }
    return Event(type="contact.deleted", source="/c", tenant=tenant, data=data, actor="user:u7")


async def publish_again(bus: EventBus, event: Event[Any]) -> None:
    """Tell something once more, when the stream has forgotten the first time."""
    async with asyncio.timeout(20):
        while (await bus.publish(event)).duplicate:
            await asyncio.sleep(0.1)


async def test_deals_go_to_the_contact_that_another_became_part_of(
    *, make_world: Any, acme: str, other: str, config: EventsConfig, eventually: Any
) -> None:
    async with (
        make_world(events=nats_events(subscriptions, config=config)) as world,
        EventBus.connect(config) as bus,
    ):
        gone, into, beside, left = (str(uuid4()) for _ in range(4))
        alone = await world.deal(acme, contact_ids=[beside, gone, left])
        both = await world.deal(acme, contact_ids=[gone, beside, into])
        theirs = await world.deal(other, contact_ids=[gone])
        deleted = await world.deal(acme, contact_ids=[gone])
        manager = world.bearer(acme, "manager")
        await world.http.delete(f"/api/deals/{deleted['id']}", headers=manager)
        world.rows(acme, f"update deal_contacts set role = 'buys' where contact_id = '{into}'")

        async def contacts(deal: Any, tenant: str = acme) -> Any:
            return (await world.get(tenant, f"/api/deals/{deal['id']}"))["contact_ids"]

        async def moved() -> bool:
            return bool(await contacts(alone) == [beside, into, left])

        await bus.topology.ensure()
        event = merged(acme, gone, into)
        await bus.publish(merged(acme, left, None))
        await bus.publish(event)
        await eventually(moved)
        await publish_again(bus, event)
        after, last = await world.deal(acme, contact_ids=[gone]), str(uuid4())
        await bus.publish(merged(acme, into, last))

        async def moved_on() -> bool:
            return bool(await contacts(alone) == [beside, last, left])

        await eventually(moved_on)
        back = await world.http.post(f"/api/deals/{deleted['id']}/restore", headers=manager)
        won = await world.put(acme, both, stage="closed_won")
        listed = await world.get(acme, f"/api/deals/{both['id']}/contacts")
        noted = await world.get(acme, "/api/deals/audit", entity_id=alone["id"])

        assert back.json()["contact_ids"] == [last]
        assert won.json()["contact_ids"] == [last, beside]
        assert [one["role"] for one in listed["items"]] == ["buys", None]
        assert await contacts(theirs, other) == [gone]
        assert await contacts(after) == [gone]  # told a second time, it was not done again
        assert (await world.get(acme, f"/api/deals/{alone['id']}"))["version"] == 3
    entries = [one for one in noted["items"] if one["action"] == "deal.contact_merged"]
    assert {one["actor"] for one in entries} == {"user:u7"}
    assert [(one["before"], one["after"]) for one in entries] == [
        ({"contact_id": into}, {"contact_id": last}),
        ({"contact_id": gone}, {"contact_id": into}),
    ]


async def test_merges_are_followed_in_whatever_order_they_are_heard_of(
    *, make_world: Any, acme: str, config: EventsConfig, eventually: Any
) -> None:
    async with (
        make_world(events=nats_events(subscriptions, config=config)) as world,
        EventBus.connect(config) as bus,
    ):
        first, second, third = (str(uuid4()) for _ in range(3))
        deal = await world.deal(acme, contact_ids=[first])
        await bus.topology.ensure()
        await bus.publish(merged(acme, second, third))
        known = "select 1 from merged_contacts"
        await eventually(lambda: world.rows(acme, known))
        await bus.publish(merged(acme, first, second))

        async def moved() -> bool:
            found = await world.get(acme, f"/api/deals/{deal['id']}")
            return bool(found["contact_ids"] == [third])

        await eventually(moved)
