"""auth-service and tenant-service: both apps in this process, each other's calls go from one to the other."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2 as httpx
import pytest

import auth_service
from auth_service.app import MIGRATIONS as ACCOUNTS
from mtenant_chassis import AuthSettings
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Place, RecordingEvents, eventually, running
from mtenant_config import ByteSize, Secret
from tenant_service import MIGRATIONS, TenantServiceSettings, create

pytestmark = pytest.mark.anyio
SECRET = "a-secret-of-tenant-service"
PASSWORD = "correct horse battery staple"


class ToOther(httpx.AsyncBaseTransport):
    """Hands a request to another app, once that is there."""

    def __init__(self) -> None:
        self.app: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await httpx.ASGITransport(app=self.app).handle_async_request(request)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def both(postgres_dsn: str) -> Place:
    return Place.make(postgres_dsn, {"auth": ACCOUNTS, "tenant": MIGRATIONS})


async def test_an_organization_registers_logs_in_invites_and_is_joined(
    both: Place,
) -> None:
    known = {"tenant-service": {"secrets": [SECRET], "scopes": ["users:manage"]}}
    to_auth, to_tenant = ToOther(), ToOther()
    mails, events = MemoryTransport(), RecordingEvents()
    accounts = auth_service.create(
        both.settings("auth-service", services={"tenant-service": "http://tenant"}),
        auth_service.AuthServiceSettings(
            secret=Secret("a secret of the tests, of 32 characters or more"),
            clients=Secret(json.dumps(known)),
            base_domain="crm.example.com",
            password_memory=ByteSize(1024 * 1024),
            password_passes=1,
        ),
        events=RecordingEvents().open,
        mail=MemoryTransport(),
        transport=to_tenant,
    )
    tenants = create(
        both.settings(
            "tenant-service",
            migrate=both.migrate,
            services={"auth-service": "http://auth"},
            auth=AuthSettings(client_secret=Secret(SECRET)),
        ),
        TenantServiceSettings(provision_url=Secret(both.owner)),
        events=events.open,
        mail=mails,
        transport=to_auth,
    )
    to_auth.app, to_tenant.app = accounts, tenants

    async def login(auth: httpx.AsyncClient, host: str, **body: str) -> dict[str, str]:
        answer = await auth.post(
            "/api/auth/login", json={**body, "password": PASSWORD}, headers={"host": host}
        )
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    async with running(accounts) as auth, running(tenants) as tenant:
        owned = {"email": "ada@example.com", "name": "Ada", "password": PASSWORD}
        asked: dict[str, Any] = {"name": "Acme", "subdomain": "acme", "owner": owned}
        made = await tenant.post("/api/tenants/register", json=asked)
        assert made.status_code == 201, made.text
        owner = await login(
            auth, f"{asked['subdomain']}.crm.example.com", email=asked["owner"]["email"]
        )
        current = await tenant.get("/api/tenants/current", headers=owner)
        assert current.json()["subdomain"] == asked["subdomain"]

        for email in ("grace@example.com", "linus@example.com"):
            invited = await tenant.post(
                "/api/tenants/invite", json={"email": email, "role": "manager"}, headers=owner
            )
            assert invited.status_code == 201, invited.text
        await eventually(lambda: len(mails.sent) == 2)
        tokens = {
            mail["To"]: re.findall(r"^(\w+\.[\w-]{43})\s*$", mail.get_content(), re.MULTILINE)[0]
            for mail in mails.sent
        }

        weak = await tenant.post(
            "/api/invitations/accept",
            json={
                "token": tokens["grace@example.com"],
                "name": "Grace",
                "password": "aaaaaaaaaaaaaa",
            },
        )
        assert (weak.status_code, weak.json()["code"]) == (422, "PASSWORD_WEAK")
        joined = await tenant.post(
            "/api/invitations/accept",
            json={"token": tokens["grace@example.com"], "name": "Grace", "password": PASSWORD},
        )
        assert joined.status_code == 200, joined.text
        grace = await login(
            auth, "service", tenant=made.json()["tenant"], email="grace@example.com"
        )

        registered = await auth.post(
            "/api/auth/register",
            json={
                "tenant": made.json()["tenant"],
                "email": "linus@example.com",
                "name": "Linus",
                "password": PASSWORD,
                "invitation_token": tokens["linus@example.com"],
            },
        )
        assert registered.status_code == 201, registered.text

        users = await tenant.get("/api/tenants/users", headers=grace)
        assert [user["role"] for user in users.json()["items"]] == ["owner", "manager", "manager"]
        refused = await tenant.patch("/api/tenants/current", json={"name": "X"}, headers=grace)
        assert refused.status_code == 403
