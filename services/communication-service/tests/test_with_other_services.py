"""With the real auth-, contact- and deal-service: apps of one process, whose calls and events go from one to another."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from communication_service import MIGRATIONS, create
from communication_service.subscriptions import subscriptions
from mtenant_chassis import AuthSettings
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.nats import nats_events
from mtenant_chassis.testing import Network, Place, running
from mtenant_config import ByteSize, Secret
from mtenant_events import EventsConfig

WHY = "it is installed in the workspace, and not where this service stands alone"
auth_service = pytest.importorskip("auth_service", reason=WHY)
contact_service = pytest.importorskip("contact_service", reason=WHY)
deal_service = pytest.importorskip("deal_service", reason=WHY)

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"
SCOPES = {
    "communication-service": ["contacts:read", "companies:read", "deals:read", "users:read"],
    "deal-service": ["contacts:read", "users:read"],
    "contact-service": ["users:read"],
    "tenant-service": ["users:manage"],
}
HOSTS = {name: f"http://{name}" for name in ("auth-service", "contact-service", "deal-service")}


def secret_of(name: str) -> str:
    return f"a-secret-of-{name}"


class Later(httpx.AsyncBaseTransport):
    """Leads calls to apps that are made after the one that calls."""

    network: Network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.network.handle_async_request(request)


async def sign_in(client: Any, tenant: str) -> tuple[dict[str, str], str]:
    """Return the header of an owner, and who that is."""
    form = {"grant_type": "client_credentials", "audience": "auth-service", "tenant": tenant}
    issued = await client.post(
        "/api/auth/token", data=form, auth=("tenant-service", secret_of("tenant-service"))
    )
    service = {"authorization": f"Bearer {issued.json()['access_token']}"}
    user, said = str(uuid4()), {"email": "owner@example.com", "name": "Grace", "role": "owner"}
    account = {**said, "password": PASSWORD, "email_verified": True}
    made = await client.put(f"/api/auth/users/{user}", json=account, headers=service)
    assert made.status_code == 201, made.text
    login = await client.post(
        "/api/auth/login", json={"tenant": tenant, "email": said["email"], "password": PASSWORD}
    )
    return {"authorization": f"Bearer {login.json()['access_token']}"}, user


async def test_a_won_deal_of_a_real_contact_is_followed_up_and_a_real_user_reminded(
    *, postgres_dsn: str, nats_url: str, own_settings: Any, eventually: Any
) -> None:
    folders = {
        "auth": auth_service.app.MIGRATIONS,
        "contact": contact_service.MIGRATIONS,
        "deal": deal_service.MIGRATIONS,
        "communication": MIGRATIONS,
    }
    place = await asyncio.to_thread(Place.make, postgres_dsn, folders)
    tenant = await place.new_tenant()
    name = uuid4().hex[:8]
    config = EventsConfig(
        url=Secret(nats_url),
        source="/test",
        prefix=f"t{name}",
        stream=f"T{name}",
        dead_letter_stream=f"D{name}",
    )
    later, mails, own = Later(), MemoryTransport(), own_settings()

    def parts(service: str) -> tuple[Any, dict[str, Any]]:
        auth = AuthSettings(client_secret=Secret(secret_of(service)))
        return place.settings(service, services=HOSTS, auth=auth), {"transport": later}

    settings, more = parts("communication-service")
    communication = create(
        settings,
        own,
        mail=mails,
        events=nats_events(lambda chassis: subscriptions(chassis, own), config=config),
        **more,
    )
    settings, more = parts("deal-service")
    deals = deal_service.create(settings, events=nats_events(config=config), **more)
    settings, more = parts("contact-service")
    contacts = contact_service.create(settings, events=nats_events(config=config), **more)
    clients = {one: {"secrets": [secret_of(one)], "scopes": SCOPES[one]} for one in SCOPES}
    accounts = auth_service.create(
        place.settings("auth-service", services={"tenant-service": "http://tenant-service"}),
        auth_service.AuthServiceSettings(
            secret=Secret("a secret of the tests, of 32 characters or more"),
            clients=Secret(json.dumps(clients)),
            password_memory=ByteSize(1024 * 1024),
            password_passes=1,
        ),
        events=nats_events(config=config),
        mail=MemoryTransport(),
        transport=later,
    )
    apps = {"auth-service": accounts, "contact-service": contacts, "deal-service": deals}
    later.network = Network(apps)
    async with AsyncExitStack() as stack:
        at = {
            name: await stack.enter_async_context(running(app))
            for name, app in {**apps, "communication-service": communication}.items()
        }
        owner, user = await sign_in(at["auth-service"], tenant)
        here = at["communication-service"]
        made = await at["contact-service"].post(
            "/api/contacts",
            json={"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com"},
            headers=owner,
        )
        assert made.status_code == 201, made.text
        contact = made.json()["id"]
        company = await at["contact-service"].post(
            "/api/companies", json={"name": "C"}, headers=owner
        )
        opened = await at["deal-service"].post(
            "/api/deals",
            json={
                "name": "Engine",
                "amount_minor": 100,
                "currency": "EUR",
                "contact_ids": [contact],
            },
            headers=owner,
        )
        assert opened.status_code == 201, opened.text
        deal = opened.json()["id"]
        note = {
            "kind": "call",
            "subject": "Before",
            "contact_ids": [contact],
            "company_ids": [company.json()["id"]],
            "deal_ids": [deal],
        }
        noted = await here.post("/api/activities", json=note, headers=owner)
        assert noted.status_code == 201, noted.text
        task = {"title": "Call Ada", "assignee_id": user, "remind_at": "2026-01-01T00:00:00Z"}
        added = await here.post(
            "/api/tasks", json={**task, "contact_id": contact, "deal_id": deal}, headers=owner
        )
        assert added.status_code == 201, added.text
        won = await at["deal-service"].put(
            f"/api/deals/{deal}", json={"stage": "closed_won"}, headers=owner
        )
        assert won.status_code == 200, won.text
        await eventually(
            lambda: (
                {mail["Subject"] for mail in mails.sent}
                >= {"Welcome, Grace", "Reminder: Call Ada", "Thank you for choosing us"}
            )
        )
        timeline = await here.get(f"/api/activities?deal_id={deal}", headers=owner)
    subjects = [one["subject"] for one in timeline.json()["items"]]
    assert subjects == ["Thank you for choosing us", "Deal closed won: Engine", "Before"]
    to = {mail["Subject"]: mail["To"] for mail in mails.sent}
    assert to["Thank you for choosing us"] == "ada@example.com"
    assert to["Reminder: Call Ada"] == to["Welcome, Grace"] == "owner@example.com"
