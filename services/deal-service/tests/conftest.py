"""What the tests share: a database with this service's tables, tokens, neighbours that can fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import httpx2 as httpx
import psycopg
import pytest

from deal_service import MIGRATIONS, DealServiceSettings, create
from mtenant_chassis import App
from mtenant_chassis.testing import Issuer, Place, RecordingEvents, eventually, running
from mtenant_config import Secret


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes tenants of its own."""
    return Place.make(postgres_dsn, {"deal": MIGRATIONS})


@pytest.fixture
def acme(place: Place) -> str:
    return place.tenant()


@pytest.fixture
def other(place: Place) -> str:
    return place.tenant()


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@dataclass
class Neighbours:
    """Stands in for contact-service and auth-service.

    Attributes:
        contacts: By tenant; None: whichever is asked for is there.
        users: The statuses of users, by tenant and id.
        failures: What the next questions are answered with instead; below 100 the connection breaks.
        asked: Tenant and path of each question.
    """

    contacts: dict[str, set[str]] | None = None
    users: dict[tuple[str, str], str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def contact(self, tenant: str) -> str:
        """Let a tenant have a contact."""
        made = str(uuid4())
        self.contacts = self.contacts or {}
        self.contacts.setdefault(tenant, set()).add(made)
        return made

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api/auth/token":
            form = parse_qs(request.content.decode())
            token = json.dumps([form["audience"][0], form["tenant"][0]]).encode().hex()
            return httpx.Response(200, json={"access_token": token, "expires_in": 600})
        bearer = request.headers["authorization"].removeprefix("Bearer ")
        audience, tenant = json.loads(bytes.fromhex(bearer))
        assert audience == f"{request.url.host}-service"
        self.asked.append((tenant, path))
        if self.failures:
            status = self.failures.pop(0)
            if status < 100:
                raise httpx.ConnectError("the connection broke")
            return httpx.Response(status, json={})
        name = path.rpartition("/")[2]
        if path.startswith("/api/contacts/"):
            there = self.contacts is None or name in self.contacts.get(tenant, set())
            return httpx.Response(200 if there else 404, json={"id": name, "status": "lead"})
        found = self.users.get((tenant, name))
        return httpx.Response(404 if found is None else 200, json={"id": name, "status": found})


@dataclass
class World:
    """A running app, and everything around it."""

    app: App
    http: httpx.AsyncClient
    place: Place
    issuer: Issuer
    neighbours: Neighbours
    events: RecordingEvents

    def bearer(self, tenant: str, role: str = "member", **claims: Any) -> dict[str, str]:
        return self.issuer.bearer(tenant, role, **claims)

    async def deal(self, tenant: str, **changes: Any) -> dict[str, Any]:
        """Begin a deal."""
        asked = {"name": "Hundred chairs", "amount_minor": 1_250_000, "currency": "EUR", **changes}
        answer = await self.http.post("/api/deals", json=asked, headers=self.bearer(tenant))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def field(self, tenant: str, key: str, of: str = "text", **more: Any) -> dict[str, Any]:
        """Let deals have a custom field."""
        asked = {"key": key, "label": key, "type": of, **more}
        answer = await self.http.post(
            "/api/deals/custom-fields", json=asked, headers=self.bearer(tenant, "admin")
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def put(
        self, tenant: str, deal: dict[str, Any], *, method: str = "PUT", **given: Any
    ) -> httpx.Response:
        headers = {**self.bearer(tenant), **given.pop("headers", {})}
        return await self.http.request(
            method, f"/api/deals/{deal['id']}", json=given, headers=headers
        )

    async def get(self, tenant: str, path: str, **params: Any) -> Any:
        answer = await self.http.get(path, params=params, headers=self.bearer(tenant, "admin"))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def told(self, tenant: str, *names: str) -> list[Any]:
        """Return the events of some classes, or of all."""
        return [
            event
            for whose, event in self.events.outbox.added
            if whose == tenant and (not names or type(event).__name__ in names)
        ]

    def rows(self, tenant: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run a statement in a tenant's schema, as the superuser."""
        options = f"-csearch_path=tenant_{tenant}"
        with psycopg.connect(self.place.admin, autocommit=True, options=options) as conn:
            cursor = conn.execute(query.encode(), params or None)
            return cursor.fetchall() if cursor.description else []


MakeApp = Callable[..., App]


@pytest.fixture(scope="session")
def make_app(place: Place, issuer: Issuer) -> MakeApp:
    """Make the service's app; parts and settings may be changed."""

    def make(**changes: Any) -> App:
        parts = {
            name: changes.pop(name)
            for name in ("transport", "keys", "events", "tracer_provider")
            if name in changes
        }
        settings = changes.pop("settings", None) or place.settings(
            "deal-service",
            services={"auth-service": "http://auth", "contact-service": "http://contact"},
            auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
            **changes,
        )
        parts = {"keys": issuer.keys, **parts}
        return create(settings, DealServiceSettings(), **parts)

    return make


MakeWorld = Callable[..., Any]


@pytest.fixture(scope="session")
def make_world(place: Place, issuer: Issuer, make_app: MakeApp) -> MakeWorld:
    """Run an app."""

    @asynccontextmanager
    async def make(**changes: Any) -> AsyncIterator[World]:
        neighbours, events = Neighbours(), RecordingEvents()
        usual = {"transport": neighbours.transport, "events": events.open}
        app = make_app(**{**usual, **changes})
        async with running(app) as client:
            yield World(app, client, place, issuer, neighbours, events)

    return make


@pytest.fixture
async def world(make_world: MakeWorld) -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture(scope="module")
async def standing(make_world: MakeWorld) -> AsyncIterator[World]:
    """One app for all tests of a file that leave nothing behind but tenants."""
    async with make_world() as made:
        yield made


@pytest.fixture(name="eventually")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually


@pytest.fixture
def absent() -> str:
    """An id that nothing has."""
    return str(UUID("0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"))
