"""What the tests share: a database, tenants, the app, a tenant-service that is not there, people."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx2 as httpx
import psycopg
import pytest

from auth_service import AuthServiceSettings, create
from auth_service.app import MIGRATIONS
from mtenant_chassis import App
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Place, RecordingEvents, eventually, running
from mtenant_config import ByteSize, Secret

PASSWORD: Final = "correct horse battery staple"
SECRET: Final = "a secret of the tests, of 32 characters or more"
SERVICE_SECRET: Final = "a-secret-of-tenant-service"
CLIENTS: Final = json.dumps(
    {
        "tenant-service": {"secrets": [SERVICE_SECRET], "scopes": ["users:manage"]},
        "contact-service": {"secrets": ["an-old-secret-of-it", "a-new-secret-of-it"]},
        "deal-service": {},
        "odd-service": {"secrets": ["100%25+and more: \u00fc"]},
    }
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes tenants of its own."""
    return Place.make(postgres_dsn, {"auth": MIGRATIONS})


@pytest.fixture
def acme(place: Place) -> str:
    return place.tenant()


@pytest.fixture
def other(place: Place) -> str:
    return place.tenant()


@dataclass
class TenantService:
    """Answers as tenant-service does.

    Attributes:
        open: Tenants with open registration.
        invitations: By tenant and token: address and role.
        subdomains: Tenants by their subdomain.
        asked: The requests.
    """

    open: set[str] = field(default_factory=set)
    invitations: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    subdomains: dict[str, str] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)
    down: bool = False

    def invite(self, tenant: str, email: str, role: str) -> str:
        token = uuid4().hex
        self.invitations[tenant, token] = (email, role)
        return token

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.down:
            raise httpx.ConnectError("down", request=request)
        tenant = claims_of(request.headers["authorization"].removeprefix("Bearer ")).get(
            "tenant_id", ""
        )
        path = request.url.path
        if path == "/api/tenants/registration":
            return httpx.Response(200, json={"open_registration": tenant in self.open})
        if path == "/api/invitations/check":
            found = self.invitations.get((tenant, json.loads(request.content)["token"]))
            if found is not None:
                said = {"id": str(uuid4()), "email": found[0], "role": found[1]}
                return httpx.Response(200, json=said)
        subdomain = path.removeprefix("/api/tenants/by-subdomain/")
        if subdomain in self.subdomains:
            return httpx.Response(200, json={"id": self.subdomains[subdomain]})
        return httpx.Response(404, json={"code": "NOT_FOUND"})


def claims_of(token: str) -> dict[str, Any]:
    """Read a token's claims without any check."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclass
class Person:
    """Somebody who is logged in."""

    tenant: str
    email: str
    id: str
    access: str
    refresh: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access}"}


@dataclass
class World:
    """A running app, and everything around it."""

    app: App
    http: httpx.AsyncClient
    place: Place
    tenants: TenantService
    mails: MemoryTransport
    events: RecordingEvents

    async def login(
        self, tenant: str, email: str, password: str = PASSWORD, **more: Any
    ) -> httpx.Response:
        body = {"tenant": tenant, "email": email, "password": password}
        return await self.http.post("/api/auth/login", json=body, **more)

    async def register(self, tenant: str, email: str, role: str = "member") -> dict[str, Any]:
        body = {
            "tenant": tenant,
            "email": email,
            "name": email.partition("@")[0],
            "password": PASSWORD,
            "invitation_token": self.tenants.invite(tenant, email, role),
        }
        answer = await self.http.post("/api/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        user: dict[str, Any] = answer.json()
        return user

    async def person(self, tenant: str, role: str = "member", email: str | None = None) -> Person:
        """Make an account, and log in."""
        address = email or f"{uuid4().hex[:8]}@example.com"
        user = await self.register(tenant, address, role)
        return await self.again(Person(tenant, address, user["id"], "", ""))

    async def again(self, person: Person, password: str = PASSWORD) -> Person:
        """Log in once more."""
        answer = await self.login(person.tenant, person.email, password)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return Person(
            person.tenant, person.email, person.id, said["access_token"], said["refresh_token"]
        )

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post("/api/auth/refresh", json={"refresh_token": token})

    async def service_bearer(
        self, tenant: str | None, name: str = "tenant-service", secret: str = SERVICE_SECRET
    ) -> dict[str, str]:
        form = {"grant_type": "client_credentials", "audience": "auth-service"}
        if tenant is not None:
            form["tenant"] = tenant
        answer = await self.http.post("/api/auth/token", data=form, auth=(name, secret))
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    def rows(self, tenant: str, query: str) -> list[tuple[Any, ...]]:
        """Run a query in a tenant's schema, as the superuser."""
        options = f"-csearch_path=tenant_{tenant}"
        with psycopg.connect(self.place.admin, autocommit=True, options=options) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def audited(self, tenant: str) -> list[str]:
        found = self.rows(tenant, "select action from audit_entries order by at, id")
        return [row[0] for row in found]

    async def mail_to(self, email: str, subject: str) -> str:
        """Wait for a mail, and return its token."""
        await eventually(lambda: self._mails(email, subject))
        text = self._mails(email, subject)[-1]
        found = re.search(r"[a-z0-9_]+\.[A-Za-z0-9_-]{43}", text)
        assert found is not None
        return found[0]

    def _mails(self, email: str, subject: str) -> list[str]:
        return [
            str(mail.get_content())
            for mail in self.mails.sent
            if mail["To"] == email and mail["Subject"] == subject
        ]


MakeWorld = Callable[..., Any]


@pytest.fixture(scope="session")
def own() -> Callable[..., AuthServiceSettings]:
    """Make the service's own settings, with cheap hashes."""

    def make(**changes: Any) -> AuthServiceSettings:
        usual: dict[str, Any] = {
            "secret": Secret(SECRET),
            "clients": Secret(CLIENTS),
            "app_url": "https://app.example.com",
            "password_memory": ByteSize(64 * 1024),
            "password_passes": 1,
            "account_attempts": 100,
            "address_attempts": 1000,
        }
        return AuthServiceSettings(**{**usual, **changes})

    return make


@pytest.fixture(scope="session")
def build_world(place: Place, own: Callable[..., AuthServiceSettings]) -> MakeWorld:
    """Run an app; settings of its own may be changed, `redis_url` too, and whether it sends mails."""

    @asynccontextmanager
    async def make(
        *,
        sends: bool = True,
        redis_url: str | None = None,
        tenants: TenantService | None = None,
        tracer_provider: Any = None,
        **changes: Any,
    ) -> AsyncIterator[World]:
        service = tenants or TenantService()
        mails, events = MemoryTransport(), RecordingEvents()
        settings = place.settings(
            "auth-service",
            services={"tenant-service": "http://tenant-service"},
            redis_url=None if redis_url is None else Secret(redis_url),
        )
        app = create(
            settings,
            own(**changes),
            events=events.open,
            mail=mails if sends else None,
            transport=httpx.MockTransport(service.answer),
            tracer_provider=tracer_provider,
        )
        async with running(app) as client:
            yield World(app, client, place, service, mails, events)

    return make


@pytest.fixture
def make_world(build_world: MakeWorld, place: Place) -> MakeWorld:
    """Run an app that finds no mail of another test: all tests share the queue, and some leave one."""
    place.rows(
        "delete from shared.mail_queue where id in"
        " (select id from shared.mail_queue for update skip locked)"
    )
    return build_world


@pytest.fixture
async def world(make_world: MakeWorld) -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture(scope="module")
async def standing(build_world: MakeWorld) -> AsyncIterator[World]:
    """One app for all tests of a file that leave nothing behind but tenants.

    It sends no mails: they would be those of the apps beside it, whose tests wait for them.
    """
    async with build_world(sends=False) as made:
        yield made


@pytest.fixture(name="eventually")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually
