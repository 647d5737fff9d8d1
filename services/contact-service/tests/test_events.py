"""Events by a real NATS: what this service tells arrives, once, and other processes hear of changes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from contact_service.subscriptions import subscriptions
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
        source="/contact-service",
        prefix=f"c{name}",
        stream=f"C{name}",
        dead_letter_stream=f"D{name}",
    )


async def test_what_happens_to_contacts_arrives_and_processes_forget_what_others_changed(
    make_client: Any, config: EventsConfig, eventually: Any
) -> None:
    seen: list[Event[Any]] = []

    def watched(chassis: Any) -> Subscriptions:
        subs = subscriptions(chassis)

        @subs.on(
            *("contact.created", "contact.updated", "contact.deleted", "company.created"),
            name="watch",
        )
        async def watch(event: Event[Any]) -> None:
            seen.append(event)

        return subs

    # Without a shared cache each process keeps contacts for itself.
    async with (
        make_client(events=nats_events(watched, config=config)) as one,
        make_client(events=nats_events(subscriptions, config=config)) as two,
    ):
        there = two.of(one.tenant)
        company = await one.company()
        ada = await one.contact(first_name="Ada", company_id=company["id"])
        path = f"/api/contacts/{ada['id']}"
        assert (await there.get(path)).json()["version"] == 1
        await one.ask("PATCH", path, json={"last_name": "Lovelace"})

        async def heard() -> bool:
            return bool((await there.get(path)).json()["version"] == 2)

        await eventually(heard)
        await one.ask("DELETE", path)

        async def all_seen() -> bool:
            return len(seen) >= 4

        await eventually(all_seen)

    told = {event.type: event for event in seen}
    assert len(seen) == len(told) == 4
    assert {event.tenant for event in seen} == {one.tenant}
    assert {event.actor for event in seen} == {"user:u1"}
    assert told["company.created"].data == {"company_id": company["id"], "name": "Example"}
    assert told["contact.updated"].data["name"] == "Ada Lovelace"
    assert told["contact.deleted"].data["version"] == 3
