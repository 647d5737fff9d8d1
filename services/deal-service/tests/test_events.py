"""Events by a real NATS: what is told of deals arrives, once, in the order of their moves."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.nats import nats_events
from mtenant_config import Secret
from mtenant_events import Event, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Streams that no other test has."""
    name = uuid4().hex[:8]
    return EventsConfig(
        url=Secret(nats_url),
        source="/deal-service",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
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
