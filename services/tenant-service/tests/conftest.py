"""What the tests share: a database with this service's tables, tokens, an auth-service that can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import httpx2 as httpx
import pytest

from mtenant_chassis import App
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Issuer, Place, RecordingEvents, eventually, running
from mtenant_config import Secret
from tenant_service import MIGRATIONS, TenantServiceSettings, create

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes organizations of its own."""
    return Place.make(postgres_dsn, {"tenant": MIGRATIONS})


@pytest.fixture(scope="session")
def tenant(place: Place) -> str:
    """A tenant with all tables that nobody changes."""
    return place.tenant()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@dataclass
class AuthService:
    """Stands in for auth-service: keeps accounts by tenant, as the calls of this service make them.

    Attributes:
        users: By tenant and id.
        passwords: By tenant and id, of the accounts that were made with one.
        failures: What the next calls are answered with instead; a status below 100 breaks the connection.
        calls: Method, path and tenant of each.
        gate: Calls of accounts wait for it.
        code: Of the problem that a failure of 400 or 422 is.
        next_cursor: Of a page of accounts.
    """

    users: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    calls: list[tuple[str, str, str | None]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    code: str = "PASSWORD_WEAK"
    next_cursor: str | None = None

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def of(self, tenant: str) -> list[dict[str, Any]]:
        return [user for (whose, _), user in self.users.items() if whose == tenant]

    def add(self, tenant: str, email: str, role: str) -> str:
        user = str(uuid4())
        self._put(tenant, user, {"email": email, "name": "Somebody", "role": role})
        return user

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/auth/token":
            form = parse_qs(request.content.decode())
            token = json.dumps([form["audience"][0], form.get("tenant", [None])[0]])
            return httpx.Response(
                200, json={"access_token": token.encode().hex(), "expires_in": 600}
            )
        bearer = request.headers["authorization"].removeprefix("Bearer ")
        audience, tenant = json.loads(bytes.fromhex(bearer))
        assert audience == "auth-service"
        self.calls.append((request.method, request.url.path, tenant))
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            status = self.failures.pop(0)
            if status < 100:
                raise httpx.ConnectError("the connection broke")
            return _problem(status, self.code if status in {400, 422} else "SOMETHING")
        return self._serve(request, tenant)

    def _serve(self, request: httpx.Request, tenant: str) -> httpx.Response:
        parts = request.url.path.removeprefix("/api/auth/users").strip("/").split("/")
        body = json.loads(request.content) if request.content else {}
        if request.method == "GET":
            email = request.url.params.get("email")
            found = [one for one in self.of(tenant) if email in {None, one["email"]}]
            total = len(found) if request.url.params.get("include_total") == "true" else None
            page = {"items": found, "next_cursor": self.next_cursor, "total": total}
            return httpx.Response(200, json=page)
        if parts[1:] == ["role"]:
            self.users[tenant, parts[0]]["role"] = body["role"]
            return httpx.Response(200, json=self.users[tenant, parts[0]])
        known = self.users.get((tenant, parts[0]))
        if known is not None:
            return httpx.Response(200, json=known)
        if any(one["email"] == body["email"] for one in self.of(tenant)):
            return _problem(409, "EMAIL_TAKEN")
        return httpx.Response(201, json=self._put(tenant, parts[0], body))

    def _put(self, tenant: str, user: str, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": user,
            "email": body["email"],
            "name": body["name"],
            "role": body["role"],
            "status": "active",
            "email_verified": body.get("email_verified", False),
            "created_at": "2026-01-01T00:00:00Z",
            "last_login_at": None,
            "version": 1,
        }
        self.users[tenant, user] = made
        if "password" in body:
            self.passwords[tenant, user] = body["password"]
        return made


def _problem(status: int, code: str) -> httpx.Response:
    body = {"type": f"urn:mtenant:error:{code}", "title": "No", "status": status, "code": code}
    return httpx.Response(
        status,
        content=json.dumps({**body, "retryable": status >= 500, "error": "no", "detail": "no"}),
        headers={"content-type": "application/problem+json"},
    )


@pytest.fixture
def auth() -> AuthService:
    return AuthService()


@dataclass
class Service:
    """The service, as a test sees it.

    Attributes:
        app: The app; `async with running(app) as client`.
        mails: What was sent.
        events: What was told.
        own: Its settings.
    """

    app: App
    mails: MemoryTransport
    events: RecordingEvents
    own: TenantServiceSettings

    def told(self, name: str, tenant: str | None = None) -> list[Any]:
        """Return the events of a class, of a tenant or of all."""
        added = self.events.outbox.added
        return [
            event
            for whose, event in added
            if type(event).__name__ == name and tenant in {None, whose}
        ]


MakeService = Callable[..., Service]


@pytest.fixture(scope="session")
def build_service(place: Place) -> MakeService:
    """Make a service of an issuer and an auth-service; settings may be changed."""

    def build(issuer: Issuer, auth: AuthService, **changes: Any) -> Service:
        own = TenantServiceSettings(
            provision_url=Secret(place.owner), app_url="https://app.example.com"
        )
        parts = {
            name: changes.pop(name) for name in ("transport", "keys", "events") if name in changes
        }
        mails, events = MemoryTransport(), RecordingEvents()
        settings = place.settings(
            "tenant-service",
            migrate=place.migrate,
            services={"auth-service": "http://auth"},
            auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
            **changes,
        )
        parts = {"keys": issuer.keys, "transport": auth.transport, "events": events.open, **parts}
        return Service(create(settings, own, mail=mails, **parts), mails, events, own)

    return build


@pytest.fixture
def make_service(
    build_service: MakeService, issuer: Issuer, auth: AuthService, place: Place
) -> MakeService:
    """Make the service, with this test's issuer and auth-service, and no mail of another test to send."""
    place.rows(
        "delete from shared.mail_queue where id in"
        " (select id from shared.mail_queue for update skip locked)"
    )
    return partial(build_service, issuer, auth)


@pytest.fixture(scope="session")
def auth_service() -> Callable[[], AuthService]:
    """Make an auth-service, for fixtures that outlive a test."""
    return AuthService


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service()


@dataclass
class Registered:
    """An organization that was registered.

    Attributes:
        tenant: Its id.
        subdomain: Where it is found.
        owner: The id of its owner.
        email: The owner's address.
    """

    tenant: str
    subdomain: str
    owner: str
    email: str


def application(**changes: Any) -> dict[str, Any]:
    """Return what a client registers."""
    word = f"org-{uuid4().hex[:10]}"
    owner = {"email": f"{word}@example.com", "name": "Ada", "password": PASSWORD}
    return {"name": f"The {word}", "subdomain": word, "owner": owner, **changes}


async def register(client: httpx.AsyncClient) -> Registered:
    """Register an organization."""
    asked = application()
    answer = await client.post("/api/tenants/register", json=asked)
    assert answer.status_code == 201, answer.text
    said = answer.json()
    return Registered(said["tenant"], asked["subdomain"], said["owner_id"], asked["owner"]["email"])


@pytest.fixture
def registered() -> Callable[[httpx.AsyncClient], Awaitable[Registered]]:
    return register


@pytest.fixture
def new_application() -> Callable[..., dict[str, Any]]:
    return application


Run = Callable[[App], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def run() -> Run:
    return running


@pytest.fixture(name="eventually")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually
