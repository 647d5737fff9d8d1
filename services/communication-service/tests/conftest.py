"""What the tests share: a database with this service's tables, tokens, and the services that it asks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx2 as httpx
import psycopg
import pytest

from communication_service import MIGRATIONS, CommunicationServiceSettings, create
from communication_service.handlers.directory import CALLEES
from mtenant_chassis import App
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Issuer, Place, RecordingEvents, eventually, running
from mtenant_config import Secret

PUBLIC_URL = "https://crm.example.com"
SECRET = "a secret that is long enough to sign with"
PERSON = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes tenants of its own."""
    return Place.make(postgres_dsn, {"communication": MIGRATIONS})


@pytest.fixture
def acme(place: Place) -> str:
    """A tenant of this test's own."""
    return place.tenant()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@dataclass
class Others:
    """Stands in for auth-, contact- and deal-service.

    Attributes:
        things: What they have: `contact`, `company`, `deal`, `user`, by tenant and id.
        away: The services that do not answer.
        strict: The services that do not let this one ask.
        gate: Calls wait for it.
        calls: Tenant and path of each.
    """

    things: dict[tuple[str | None, str, str], dict[str, Any]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    strict: set[str] = field(default_factory=set)
    gate: asyncio.Event | None = None
    calls: list[tuple[str | None, str]] = field(default_factory=list)

    def add(self, tenant: str, kind: str, **said: Any) -> str:
        which = str(uuid4())
        self.things[tenant, kind, which] = {"id": which, **said}
        return which

    def contact(self, tenant: str, email: str | None = "ada@example.com") -> str:
        return self.add(tenant, "contact", first_name="Ada", last_name="Lovelace", email=email)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/auth/token":
            form = parse_qs(request.content.decode())
            token = json.dumps([form["audience"][0], form.get("tenant", [None])[0]])
            return httpx.Response(
                200, json={"access_token": token.encode().hex(), "expires_in": 600}
            )
        bearer = request.headers["authorization"].removeprefix("Bearer ")
        audience, tenant = json.loads(bytes.fromhex(bearer))
        assert audience == request.url.host
        self.calls.append((tenant, request.url.path))
        if self.gate is not None:
            await self.gate.wait()
        if audience in self.strict:
            body = {"code": "PERMISSION_MISSING", "status": 403, "title": "No", "type": "urn:x"}
            return httpx.Response(403, json=body)
        if audience in self.away:
            raise httpx.ConnectError("nobody is there")
        match = re.fullmatch(
            r"/api/(?:auth/)?(contact|compan|deal|user)(?:ie)?s/(.+)", request.url.path
        )
        assert match is not None, request.url.path
        kind = "company" if match[1] == "compan" else match[1]
        found = self.things.get((tenant, kind, match[2]))
        if found is None:
            body = {"code": "NOT_FOUND", "status": 404, "title": "No", "type": "urn:x"}
            return httpx.Response(404, json=body)
        return httpx.Response(200, json=found)


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture(scope="session")
def new_others() -> Callable[[], Others]:
    """Make them, for fixtures that outlive a test."""
    return Others


@dataclass
class Service:
    """The service, as a test sees it.

    Attributes:
        app: The app; `async with running(app) as client`.
        mails: What was sent.
        events: What was told.
        own: Its settings.
        place: Where its tables are.
        issuer: Whose tokens it believes.
        others: Whom it asks.
    """

    app: App
    mails: MemoryTransport
    events: RecordingEvents
    own: CommunicationServiceSettings
    place: Place
    issuer: Issuer
    others: Others

    def told(self, name: str, tenant: str | None = None) -> list[Any]:
        """Return the events of a class, of a tenant or of all."""
        return [
            event
            for whose, event in self.events.outbox.added
            if type(event).__name__ == name and tenant in {None, whose}
        ]

    def bearer(self, tenant: str, role: str = "manager", **claims: Any) -> dict[str, str]:
        return self.issuer.bearer(tenant, role, **claims)

    def rows(self, tenant: str, query: str) -> list[tuple[Any, ...]]:
        """Return rows of a tenant's tables, looked at without a policy."""
        options = f"-c search_path=tenant_{tenant}"
        with psycopg.connect(self.place.admin, autocommit=True, options=options) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def mails_to(self, address: str) -> list[Any]:
        return [mail for mail in self.mails.sent if mail["To"] == address]


MakeService = Callable[..., Service]


def settings_of(**changes: Any) -> CommunicationServiceSettings:
    said: dict[str, Any] = {
        "public_url": PUBLIC_URL,
        "tracking_secret": Secret(SECRET),
        "machine_window": timedelta(0),
    }
    return CommunicationServiceSettings(**{**said, **changes})


@pytest.fixture(scope="session")
def own_settings() -> Callable[..., CommunicationServiceSettings]:
    return settings_of


@pytest.fixture(scope="session")
def build_service(place: Place) -> MakeService:
    """Make the service of an issuer and others; settings and parts may be changed."""

    def build(issuer: Issuer, others: Others, **changes: Any) -> Service:
        at = changes.pop("at", place)
        own = changes.pop("own", None) or settings_of()
        parts: dict[str, Any] = {
            name: changes.pop(name)
            for name in ("keys", "transport", "events", "mail", "tracer_provider")
            if name in changes
        }
        mails, events = MemoryTransport(), RecordingEvents()
        if (mail := changes.pop("mail_settings", None)) is not None:
            changes["mail"] = mail  # the setting; `mail` is the part that takes mails
        settings = at.settings(
            "communication-service",
            services={name: f"http://{name}" for name in CALLEES},
            auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
            **changes,
        )
        usual: dict[str, Any] = {"keys": issuer.keys, "transport": others.transport, "mail": mails}
        parts = {**usual, "events": events.open, **parts}
        return Service(create(settings, own, **parts), mails, events, own, at, issuer, others)

    return build


@pytest.fixture
def make_service(
    build_service: MakeService, issuer: Issuer, others: Others, place: Place
) -> MakeService:
    """Make the service, which finds nothing to do of other tests: all share the queues of mails."""
    place.rows(
        "delete from shared.mail_queue where id in"
        " (select id from shared.mail_queue for update skip locked);"
        "delete from shared.communication_schedule where id in (select id from"
        " shared.communication_schedule where due_at <= now() for update skip locked)"
    )
    return partial(build_service, issuer, others)


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the test's own app."""
    async with running(service.app) as opened:
        yield opened


Run = Callable[[App], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def run() -> Run:
    return running


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually


def urls_of(mail: Any) -> dict[str, list[str]]:
    """Return the paths of our own links in a mail: `open`, `click`, `unsubscribe`."""
    page = mail.get_body(("html",)).get_content()
    found: dict[str, list[str]] = {"open": [], "click": [], "unsubscribe": []}
    names = {"/t/o.gif": "open", "/t/c": "click", "/t/u": "unsubscribe"}
    for url in re.findall(r'(?:href|src)="([^"]+)"', page):
        if url.startswith(PUBLIC_URL):
            parts = urlsplit(url)
            found[names[parts.path]].append(f"{parts.path}?{parts.query}")
    return found


@pytest.fixture(scope="session")
def links_of() -> Callable[[Any], dict[str, list[str]]]:
    return urls_of


@pytest.fixture
def person() -> dict[str, str]:
    """The header of somebody who reads a mail."""
    return dict(PERSON)


@pytest.fixture
def new_email() -> Callable[..., dict[str, Any]]:
    """Return what a client sends."""

    def made(**changes: Any) -> dict[str, Any]:
        page = '<p>Hello</p><a href="https://example.com/offer?a=1&amp;b=2">the offer</a>'
        said = {"to": "ada@example.com", "subject": "An offer", "text": "Hello", "html": page}
        return {key: value for key, value in {**said, **changes}.items() if value is not None}

    return made


def is_version_7(text: str) -> bool:
    return UUID(text).version == 7
