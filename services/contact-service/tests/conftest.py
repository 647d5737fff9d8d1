"""What the tests share: a database with this service's tables, tokens, an auth-service that knows some users."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from contact_service import MIGRATIONS, ContactServiceSettings, create
from mtenant_chassis import App
from mtenant_chassis.testing import Issuer, Place, RecordingEvents, eventually, read_list, running
from mtenant_config import Secret


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each has tenants of its own."""
    return Place.make(postgres_dsn, {"contact": MIGRATIONS})


@dataclass
class AuthService:
    """Stands in for auth-service: says which users are there.

    Attributes:
        users: Their ids, each with a status.
        failure: A status that is answered instead; below 100 the connection breaks.
        asked: The tenant and path of each question.
    """

    users: dict[str, str] = field(default_factory=dict)
    failure: int | None = None
    asked: list[tuple[str | None, str]] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def user(self, status: str = "active") -> str:
        made = str(uuid4())
        self.users[made] = status
        return made

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/auth/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        self.asked.append((None, request.url.path))
        if self.failure is not None:
            if self.failure < 100:
                raise httpx.ConnectError("the connection broke")
            return self._problem(self.failure)
        user = request.url.path.rpartition("/")[2]
        if user not in self.users:
            return self._problem(404)
        return httpx.Response(200, json={"id": user, "status": self.users[user]})

    def _problem(self, status: int) -> httpx.Response:
        body = {"type": "urn:mtenant:error:NO", "title": "No", "status": status, "code": "NO"}
        said = {**body, "retryable": status >= 500, "error": "no", "detail": "no"}
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(status, content=json.dumps(said), headers=headers)


@dataclass
class Client:
    """A running service, as one person of one tenant asks it.

    Attributes:
        http: Asks without a token.
        app: The app.
        issuer: Issues tokens.
        tenant: Whose the requests are.
        events: What was told.
        auth: Knows users.
        place: Where the tables are.
        role: Of the person.
    """

    http: httpx.AsyncClient
    app: App
    issuer: Issuer
    tenant: str
    events: RecordingEvents
    auth: AuthService
    place: Place
    role: str = "owner"

    def of(self, tenant: str | None = None, role: str = "owner") -> Client:
        """Return the same for somebody else."""
        return replace(self, tenant=tenant or self.tenant, role=role)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.issuer.bearer(self.tenant, self.role), **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.ask("POST", path, **options)

    async def contact(self, **fields: Any) -> dict[str, Any]:
        """Make a contact."""
        if not fields.keys() & {"first_name", "last_name", "email"}:
            fields["first_name"] = "Ada"
        answer = await self.post("/api/contacts", json=fields)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def company(self, **fields: Any) -> dict[str, Any]:
        """Make a company."""
        answer = await self.post("/api/companies", json={"name": "Example", **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def field(self, key: str, of: str = "text", **more: Any) -> dict[str, Any]:
        """Add a custom field."""
        asked = {"entity": "contact", "key": key, "label": key, "type": of, **more}
        answer = await self.post("/api/custom-fields", json=asked)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def upload(
        self, file: bytes, name: str = "contacts.csv", **params: Any
    ) -> httpx.Response:
        """Import a file."""
        return await self.post("/api/contacts/import", files={"file": (name, file)}, params=params)

    async def contacts(self, **params: Any) -> list[dict[str, Any]]:
        """List all contacts, page by page."""
        return await self.listed("/api/contacts", **{"limit": 200, **params})

    async def listed(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Read a list page by page."""
        headers = self.issuer.bearer(self.tenant, self.role)
        return await read_list(self.http, path, headers, **params)

    def told(self, name: str | None = None) -> list[Any]:
        """Return the events of this tenant, of a class or all."""
        return [
            one
            for whose, one in self.events.outbox.added
            if whose == self.tenant and name in {None, type(one).__name__}
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement on the tenant's tables, which it calls {t}.<name>."""
        return self.place.rows(query.replace("{t}", f"tenant_{self.tenant}"))


def build(place: Place, issuer: Issuer, auth: AuthService, **changes: Any) -> tuple[App, Any]:
    names = ("transport", "keys", "events", "tracer_provider")
    parts = {name: changes.pop(name) for name in names if name in changes}
    events = RecordingEvents()
    settings = place.settings(
        "contact-service",
        services={"auth-service": "http://auth"},
        auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
        **changes,
    )
    parts = {"keys": issuer.keys, "transport": auth.transport, "events": events.open, **parts}
    return create(settings, ContactServiceSettings(), **parts), events


MakeClient = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def make_client(place: Place) -> MakeClient:
    """Run an app, and be the owner of a new tenant; settings and parts may be changed."""

    @asynccontextmanager
    async def made(**changes: Any) -> AsyncIterator[Client]:
        issuer, auth = Issuer(), AuthService()
        app, events = build(place, issuer, auth, **changes)
        tenant = await place.new_tenant()
        async with running(app) as http:
            yield Client(http, app, issuer, tenant, events, auth, place)

    return made


@pytest.fixture(scope="session")
def build_app(place: Place) -> Callable[[Issuer], App]:
    """Make an app that does not run yet, with an auth-service that knows nobody."""
    return lambda issuer: build(place, issuer, AuthService())[0]


@pytest.fixture(scope="module")
async def standing(make_client: MakeClient) -> AsyncIterator[Client]:
    """An app that the tests of a module share."""
    async with make_client() as client:
        yield client


@pytest.fixture
async def client(standing: Client, place: Place) -> Client:
    """The owner of a tenant that no other test has."""
    standing.auth.failure = None
    return standing.of(await place.new_tenant())


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually
