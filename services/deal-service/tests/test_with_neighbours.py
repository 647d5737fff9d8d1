"""With the real auth-service and contact-service: all apps in this process, calls go from one to the other."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from deal_service import MIGRATIONS, DealServiceSettings, create
from mtenant_chassis import AuthSettings
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Network, Place, RecordingEvents, running
from mtenant_config import ByteSize, Secret

WHY = "it is installed in the workspace, and not where this service stands alone"
auth_service = pytest.importorskip("auth_service", reason=WHY)
contact_service = pytest.importorskip("contact_service", reason=WHY)

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"
CLIENTS = {
    "tenant-service": {"secrets": ["secret-of-tenant-service"], "scopes": ["users:manage"]},
    "contact-service": {"secrets": ["secret-of-contact-service"], "scopes": ["users:read"]},
    "deal-service": {
        "secrets": ["secret-of-deal-service"],
        "scopes": ["contacts:read", "users:read"],
    },
}
URLS = {name: f"http://{name}" for name in ("auth-service", "contact-service", "tenant-service")}


class Everybody(httpx.AsyncBaseTransport):
    """Leads calls to apps that are made after it."""

    apps: Network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.apps.handle_async_request(request)


@pytest.fixture(scope="module")
def three(postgres_dsn: str) -> Place:
    from auth_service.app import MIGRATIONS as ACCOUNTS  # noqa: PLC0415 - only if it is installed

    components = {"auth": ACCOUNTS, "contact": contact_service.MIGRATIONS, "deal": MIGRATIONS}
    return Place.make(postgres_dsn, components)


async def account(auth: Any, tenant: str, role: str) -> tuple[str, dict[str, str]]:
    """Make an account as tenant-service does; return its id and a token."""
    form = {
        "grant_type": "client_credentials",
        "audience": "auth-service",
        "tenant": tenant,
    }
    secret = ("tenant-service", "secret-of-tenant-service")
    said = (await auth.post("/api/auth/token", data=form, auth=secret)).json()
    user, email = str(uuid4()), f"{uuid4().hex[:8]}@example.com"
    made = await auth.put(
        f"/api/auth/users/{user}",
        json={"email": email, "name": "Ada", "role": role, "password": PASSWORD},
        headers={"authorization": f"Bearer {said['access_token']}"},
    )
    assert made.status_code == 201, made.text
    body = {"tenant": tenant, "email": email, "password": PASSWORD}
    login = await auth.post("/api/auth/login", json=body)
    assert login.status_code == 200, login.text
    return user, {"authorization": f"Bearer {login.json()['access_token']}"}


async def test_contacts_and_owners_are_those_of_the_tenant(three: Place) -> None:
    network = Everybody()
    own = auth_service.AuthServiceSettings(
        secret=Secret("a secret of the tests, of 32 characters or more"),
        clients=Secret(json.dumps(CLIENTS)),
        password_memory=ByteSize(1024 * 1024),
        password_passes=1,
    )
    accounts = auth_service.create(
        three.settings("auth-service", services=URLS),
        own,
        events=RecordingEvents().open,
        mail=MemoryTransport(),
        transport=network,
    )

    def settings(name: str) -> Any:
        secret = AuthSettings(client_secret=Secret(f"secret-of-{name}"))
        return three.settings(name, services=URLS, auth=secret)

    people = contact_service.create(
        settings("contact-service"),
        contact_service.ContactServiceSettings(),
        events=RecordingEvents().open,
        transport=network,
    )
    deals = create(
        settings("deal-service"),
        DealServiceSettings(),
        events=RecordingEvents().open,
        transport=network,
    )
    network.apps = Network({"auth-service": accounts, "contact-service": people})

    tenant, other = await three.new_tenant(), await three.new_tenant()
    async with running(accounts) as auth, running(people) as contact, running(deals) as deal:
        _, mine = await account(auth, tenant, "admin")
        bob, _ = await account(auth, tenant, "member")
        eve, theirs = await account(auth, other, "owner")
        ids = {}
        for name, headers in (("mine", mine), ("theirs", theirs), ("gone", mine)):
            body = {"first_name": name, "last_name": "X", "email": f"{name}@example.com"}
            made = await contact.post("/api/contacts", json=body, headers=headers)
            assert made.status_code == 201, made.text
            ids[name] = made.json()["id"]
        gone = await contact.delete(f"/api/contacts/{ids['gone']}", headers=mine)
        assert gone.status_code == 204, gone.text

        new = {"name": "Chairs", "amount_minor": 5, "currency": "EUR"}
        asked: dict[str, dict[str, Any]] = {
            "all mine": {"contact_ids": [ids["mine"]], "owner_id": bob},
            "their contact": {"contact_ids": [ids["theirs"]]},
            "a deleted contact": {"contact_ids": [ids["gone"]]},
            "their user": {"owner_id": eve},
            "nobody": {"owner_id": str(uuid4())},
        }
        answers = {
            name: await deal.post("/api/deals", json={**new, **more}, headers=mine)
            for name, more in asked.items()
        }
        won = await deal.put(
            answers["all mine"].headers["location"], json={"stage": "closed_won"}, headers=mine
        )
        foreign = await deal.get(answers["all mine"].headers["location"], headers=theirs)

    codes = {name: (one.status_code, one.json().get("code")) for name, one in answers.items()}
    assert codes == {
        "all mine": (201, None),
        "their contact": (422, "CONTACT_UNKNOWN"),
        "a deleted contact": (422, "CONTACT_UNKNOWN"),
        "their user": (422, "OWNER_UNKNOWN"),
        "nobody": (422, "OWNER_UNKNOWN"),
    }
    assert (answers["all mine"].json()["owner_id"], won.json()["status"]) == (bob, "won")
    assert foreign.status_code == 404
