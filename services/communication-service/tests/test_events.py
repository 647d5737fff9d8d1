"""Events by a real NATS: what this service listens to has its effect once, and what it tells arrives."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from communication_service.subscriptions import subscriptions
from mtenant_chassis.nats import nats_events
from mtenant_chassis.testing import Place, running
from mtenant_config import Secret
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Streams that no other test has, and which forget soon what they had."""
    name = uuid4().hex[:8]
    return EventsConfig(
        url=Secret(nats_url),
        source="/communication-service",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
        duplicate_window=timedelta(seconds=1),
    )


async def test_a_user_and_a_won_deal_have_their_mails_once_however_often_they_are_told(
    *,
    make_service: Any,
    acme: str,
    place: Place,
    config: EventsConfig,
    eventually: Any,
    person: Any,
    links_of: Any,
) -> None:
    seen: list[Event[Any]] = []

    def listening(chassis: Any) -> Subscriptions:
        subs = subscriptions(chassis, service.own)

        @subs.on("email.sent", "email.opened", "activity.logged", name="watch")
        async def watch(event: Event[Any]) -> None:
            seen.append(event)

        return subs

    service = make_service(events=nats_events(listening, config=config))
    contact, deal, user = service.others.contact(acme), str(uuid4()), str(uuid4())
    won = {
        "deal_id": deal,
        "name": "Big\r\nBcc: x@example.com",
        "amount_minor": 1250000,
        "currency": "EUR",
        "owner_id": user,
        "contact_ids": [contact],
    }
    made = {"user_id": user, "email": "Grace@Example.com", "name": "Grace", "role": "member"}
    strange = {**made, "user_id": str(uuid4()), "email": "no address"}
    events = [
        Event(type="deal.closed_won", source="/d", tenant=acme, data=won, actor="user:u7"),
        Event(type="user.created", source="/a", tenant=acme, data=made),
        Event(type="user.created", source="/a", tenant=acme, data=strange),
    ]

    def sent() -> int:
        return sum(event.type == "email.sent" for event in seen)

    async with running(service.app) as client, EventBus.connect(config) as bus:
        await bus.topology.ensure()
        for event in events:
            await bus.publish(event)
        await eventually(lambda: sent() == 2)
        for event in events:  # told again, when the stream has forgotten the first time
            async with asyncio.timeout(20):
                while (await bus.publish(event)).duplicate:
                    await asyncio.sleep(0.1)
        last = Event(
            type="user.created",
            source="/a",
            tenant=acme,
            data={**made, "user_id": str(uuid4()), "email": "last@example.com"},
        )
        await bus.publish(last)
        await eventually(lambda: sent() == 3)
        (thanks,) = service.mails_to("ada@example.com")
        (welcome,) = service.mails_to("grace@example.com")
        await client.get(links_of(thanks)["open"][0], headers=person)
        await eventually(lambda: "email.opened" in {event.type for event in seen})
        timeline = await client.get(f"/api/activities?deal_id={deal}", headers=service.bearer(acme))

    assert welcome["Subject"] == "Welcome, Grace"
    assert welcome["List-Unsubscribe"] is None
    assert b"/t/" not in welcome.as_bytes()
    assert "Hello Ada Lovelace" in thanks.get_body(("plain",)).get_content()
    assert thanks["Bcc"] is None
    mail, note = timeline.json()["items"]
    assert (mail["kind"], note["kind"], note["created_by"]) == ("email", "note", "user:u7")
    assert note["subject"] == "Deal closed won: Big  Bcc: x@example.com"
    assert note["contact_ids"] == [contact]
    later = "select status, contact_id::text from emails where template_key = 'deal-won-check-in'"
    assert service.rows(acme, later) == [("scheduled", contact)]
    weeks = "select round(extract(epoch from due_at - now()) / 86400) from shared.communication_schedule"
    assert place.rows(f"{weeks} where tenant = '{acme}'") == [(7,)]
    types = sorted(event.type for event in seen)
    assert types == ["activity.logged"] * 2 + ["email.opened"] + ["email.sent"] * 3
    told = json.dumps([event.data for event in seen])
    assert "@" not in told
    assert "t=" not in told
    assert {event.tenant for event in seen} == {acme}


async def test_a_tenant_that_has_archived_a_template_sends_no_mail_of_its_kind(
    make_service: Any, acme: str, config: EventsConfig, eventually: Any
) -> None:
    service = make_service(
        events=nats_events(lambda chassis: subscriptions(chassis, service.own), config=config)
    )
    service.rows(acme, "update email_templates set archived_at = now()")
    data = {"deal_id": str(uuid4()), "name": "D", "contact_ids": [str(uuid4())]}
    async with running(service.app), EventBus.connect(config) as bus:
        await bus.topology.ensure()
        await bus.publish(Event(type="deal.closed_won", source="/d", tenant=acme, data=data))
        await eventually(lambda: service.rows(acme, "select 1 from activities"))
    assert service.rows(acme, "select count(*) from emails") == [(0,)]
