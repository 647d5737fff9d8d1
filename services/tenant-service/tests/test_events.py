"""Events by a real NATS: what this service tells arrives, and what it listens to has its effect."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.nats import nats_events
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_config import Secret
from mtenant_events import Event, EventsConfig, Subscriptions
from tenant_service.subscriptions import subscriptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Streams that no other test has."""
    name = uuid4().hex[:8]
    return EventsConfig(
        url=Secret(nats_url),
        source="/tenant-service",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
    )


async def test_what_happens_to_an_organization_arrives_and_new_users_are_heard_of(
    *,
    make_service: Any,
    place: Place,
    issuer: Issuer,
    config: EventsConfig,
    registered: Any,
    eventually: Any,
) -> None:
    seen: list[Event[Any]] = []

    def listening(chassis: Any) -> Subscriptions:
        subs = subscriptions(chassis, service.own)

        @subs.on(
            "tenant.created",
            "tenant.updated",
            "tenant.user_invited",
            "tenant.user_joined",
            name="watch",
        )
        async def watch(event: Event[Any]) -> None:
            seen.append(event)

        return subs

    service = make_service(events=nats_events(listening, config=config))
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        admin = issuer.bearer(one.tenant, "admin")
        invited = await client.post(
            "/api/tenants/invite", json={"email": "grace@example.com"}, headers=admin
        )
        await client.put("/api/tenants/settings", json={"currency": "CHF"}, headers=admin)

        # auth-service's event, told by its outbox; this service reads it as its own class.
        chassis, user = service.app.state.chassis, str(uuid4())
        told = {"user_id": user, "email": "grace@example.com", "name": "Grace", "role": "member"}
        event = Event(
            type="user.created",
            source="/auth-service",
            tenant=one.tenant,
            data={**told, "invitation_id": invited.json()["id"]},
        )
        async with chassis.tenant(one.tenant).transaction() as tx:
            await chassis.outbox.add(tx, event, key=user)

        await eventually(lambda: "tenant.user_joined" in {event.type for event in seen})
        await eventually(lambda: len(seen) >= 5)
        mine = await client.get(
            "/api/tenants/preferences", headers=issuer.bearer(one.tenant, "viewer", user=user)
        )

    types = {(event.type, event.tenant) for event in seen}
    assert types == {
        ("tenant.created", one.tenant),
        ("tenant.created", other.tenant),
        ("tenant.user_invited", one.tenant),
        ("tenant.updated", one.tenant),
        ("tenant.user_joined", one.tenant),
    }
    assert mine.json()["version"] == 1
    by_type = {event.type: event for event in seen if event.tenant == one.tenant}
    assert by_type["tenant.user_invited"].actor == "user:u1"
    assert "token" not in json.dumps([event.data for event in seen])
