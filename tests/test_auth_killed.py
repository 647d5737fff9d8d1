"""auth-service, killed with SIGKILL while people register, join, log in and refresh: what it has answered holds."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import nats
import psycopg
import pytest

import tenant_service
from auth_service.app import MIGRATIONS as ACCOUNTS
from auth_service.domain.refresh_token import GRACE
from mtenant_chassis import App, AuthSettings, breaker
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Place, Process, RecordingEvents, eventually, serving
from mtenant_config import Secret
from mtenant_events import EventsConfig
from tenant_service import TenantServiceSettings, worker

pytestmark = pytest.mark.anyio

DEADLINE = 60.0
PASSWORD = "correct horse battery staple"
SECRET = "a-secret-of-tenant-service"
FOUNDERS = 4
REFRESHES = 3
CONFIG = EventsConfig(source="/test")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def both(postgres_dsn: str) -> Place:
    return Place.make(postgres_dsn, {"auth": ACCOUNTS, "tenant": tenant_service.MIGRATIONS})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tenant-service ask again soon, and leave to the clients what was not finished: they know the password."""
    monkeypatch.setattr(breaker, "REST", 0.2)
    monkeypatch.setattr(worker, "POLL", 3600.0)


def auth_process(place: Place, nats_url: str) -> Process:
    known = {"tenant-service": {"secrets": [SECRET], "scopes": ["users:manage"]}}
    return Process(
        "auth_service",
        place,
        nats_url,
        AUTH_SECRET="a secret of the tests, of 32 characters or more",
        AUTH_CLIENTS=json.dumps(known),
        ARGON2_MEMORY="64KiB",
        ARGON2_PASSES="1",
        LOGIN_ADDRESS_ATTEMPTS="1000000",  # all that is here comes from one address
    )


class FromAnywhere(httpx.AsyncBaseTransport):
    """Hands each request to an app as if it came from another address: one address may register few."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._sent += 1
        client = (f"10.0.{self._sent // 256}.{self._sent % 256}", 1)
        return await httpx.ASGITransport(app=self._app, client=client).handle_async_request(request)


@dataclass
class Person:
    """Somebody whose account was answered for.

    Attributes:
        tenant: Whose.
        email: The address.
        access: The newest access token that was answered.
        refresh: The newest refresh token.
    """

    tenant: str
    email: str
    access: str = ""
    refresh: str = ""

    def take(self, answer: httpx.Response) -> None:
        said = answer.json()
        self.access, self.refresh = said["access_token"], said["refresh_token"]

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access}"}


@dataclass
class World:
    """auth-service, tenant-service and everybody who was answered.

    Attributes:
        auth: A client of auth-service.
        tenants: One of tenant-service, which is never killed.
        mails: That it has sent.
        people: Who has an account.
        lost: How many requests to auth-service had no answer.
        enough: Whoever is done founds no other organization.
    """

    auth: httpx.AsyncClient
    tenants: httpx.AsyncClient
    mails: MemoryTransport
    people: list[Person] = field(default_factory=list)
    lost: int = 0
    enough: bool = False
    _answers: int = 0
    _answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def more(self, number: int) -> None:
        """Wait until so many more requests are answered."""
        async with self._answered:
            wanted = self._answers + number
            await self._answered.wait_for(lambda: self._answers >= wanted)

    async def ask(
        self, client: httpx.AsyncClient, path: str, body: Any, *busy: Any, **headers: str
    ) -> tuple[httpx.Response, int]:
        """Ask until there is an answer that is none of those that say: not now.

        Returns:
            The answer, and how many before it were lost.
        """
        lost = 0
        while True:
            try:
                answer = await client.post(path, json=body, headers=headers)
            except httpx.HTTPError as exc:
                lost += not isinstance(exc, httpx.ConnectError)
            else:
                code = answer.json().get("code")
                if answer.status_code < 500 and not {answer.status_code, code} & {*busy}:
                    async with self._answered:
                        self._answers += 1
                        self._answered.notify_all()
                    self.lost += lost
                    return answer, lost
                assert answer.status_code != 500, answer.text
            await asyncio.sleep(0.1)

    async def found(self, founder: int) -> None:
        """Found organizations, each with two more people, until it is enough."""
        number = 0
        while not self.enough:
            await self._found(f"org-{founder}-{number}")
            number += 1

    async def _found(self, name: str) -> None:
        owned = {"email": f"owner@{name}.example.com", "name": "Ada", "password": PASSWORD}
        made, _ = await self.ask(
            self.tenants,
            "/api/tenants/register",
            {"name": name, "subdomain": name, "owner": owned},
            *(202, "REGISTRATION_RUNNING"),
            **{"idempotency-key": name},
        )
        assert made.status_code == 201, made.text
        tenant = made.json()["tenant"]
        owner = await self.enter(tenant, owned["email"])

        token = await self._invite(owner, f"grace@{name}.example.com")
        accepting = {"token": token, "name": "Grace", "password": PASSWORD}
        joined, _ = await self.ask(
            self.tenants, "/api/invitations/accept", accepting, "INVITATION_BUSY"
        )
        assert joined.status_code == 200, joined.text
        await self.enter(tenant, f"grace@{name}.example.com")

        email = f"linus@{name}.example.com"
        token = await self._invite(owner, email)
        body = {"tenant": tenant, "email": email, "name": "Linus", "password": PASSWORD}
        registered, lost = await self.ask(
            self.auth, "/api/auth/register", {**body, "invitation_token": token}
        )
        # The first of two may have been heard, and its answer was lost.
        taken = registered.status_code == 409 and registered.json()["code"] == "EMAIL_TAKEN"
        assert registered.status_code == 201 or (taken and lost), registered.text
        await self.enter(tenant, email)

    async def _invite(self, owner: Person, email: str) -> str:
        asked = {"email": email, "role": "member"}
        headers = {**owner.bearer, "idempotency-key": email}
        invited, _ = await self.ask(self.tenants, "/api/tenants/invite", asked, **headers)
        assert invited.status_code == 201, invited.text
        await eventually(lambda: any(mail["To"] == email for mail in self.mails.sent))
        (mail,) = (mail for mail in self.mails.sent if mail["To"] == email)
        token = re.search(r"^(\w+\.[\w-]{43})\s*$", str(mail.get_content()), re.MULTILINE)
        assert token is not None
        return token[1]

    async def enter(self, tenant: str, email: str) -> Person:
        """Log in, and get some successors of the refresh token."""
        person = Person(tenant, email)
        self.people.append(person)
        await self.login(person)
        for _ in range(REFRESHES):
            await self.refresh(person)
        return person

    async def login(self, person: Person) -> None:
        body = {"tenant": person.tenant, "email": person.email, "password": PASSWORD}
        answer, _ = await self.ask(self.auth, "/api/auth/login", body)
        assert answer.status_code == 200, answer.text
        person.take(answer)

    async def refresh(self, person: Person) -> None:
        begun = time.monotonic()
        answer, lost = await self.ask(
            self.auth, "/api/auth/refresh", {"refresh_token": person.refresh}
        )
        if answer.status_code == 401 and lost:
            # Its successor was made, and the process was away for longer than that can be asked for.
            assert time.monotonic() - begun > GRACE.total_seconds(), answer.text
            await self.login(person)
            return
        assert answer.status_code == 200, answer.text
        person.take(answer)


@asynccontextmanager
async def world(place: Place, process: Process) -> AsyncIterator[World]:
    """Run tenant-service in this process, and auth-service in its own."""
    settings = place.settings(
        "tenant-service",
        migrate=place.migrate,
        services={"auth-service": process.url},
        auth=AuthSettings(client_secret=Secret(SECRET)),
    )
    mails = MemoryTransport()
    app = tenant_service.create(
        settings,
        TenantServiceSettings(provision_url=Secret(place.owner)),
        events=RecordingEvents().open,  # whoever tells of a user is auth-service, and nobody for it
        mail=mails,
    )
    async with (
        serving(app, settings) as (url, _),
        httpx.AsyncClient(base_url=process.url, timeout=10, trust_env=False) as auth,
        httpx.AsyncClient(transport=FromAnywhere(app), base_url="http://tenants") as tenants,
    ):
        process.start(TENANT_SERVICE_URL=url)
        await process.ready()
        yield World(auth, tenants, mails)


async def kill_at_random(
    process: Process, everybody: World, *, kills: int, chance: random.Random
) -> None:
    """Kill a process again and again, each time at another moment of a request."""
    for _ in range(kills):
        await everybody.more(chance.randint(1, 30))
        await asyncio.sleep(chance.uniform(0, 0.03))
        await asyncio.to_thread(process.kill)
        process.start()
    await everybody.more(1)
    everybody.enough = True


async def told(nats_url: str, tenant: str) -> Counter[tuple[str, str]]:
    """Count a tenant's events of users in the stream, by their type and what they are of."""
    client = await nats.connect(nats_url)
    try:
        reader = await client.jetstream().pull_subscribe(
            f"{CONFIG.prefix}.evt.{tenant}.user.>", stream=CONFIG.stream
        )
        found = Counter[tuple[str, str]]()
        left = (await reader.consumer_info()).num_pending
        while left:
            for message in await reader.fetch(min(left, 100)):
                event = json.loads(message.data)
                data = event["data"]
                found[event["type"], data.get("session_id", data["user_id"])] += 1
                left -= 1
        return found
    finally:
        await client.close()


async def check(place: Place, nats_url: str, tenant: str, people: list[Person]) -> None:
    """Compare a tenant's tables and events with what its people were answered."""
    with psycopg.connect(place.admin, options=f"-csearch_path=tenant_{tenant}") as conn:

        def column(query: str) -> list[str]:
            return sorted(str(row[0]) for row in conn.execute(query.encode()))

        assert column("select email from users where status = 'active'") == sorted(
            person.email for person in people
        )
        users = column("select id from users")
        assert len(users) == len(people)
        created = "select entity_id from audit_entries where action = 'user.created'"
        assert column(created) == users
        owners = column("select id from users where role = 'owner'")
        assert column("select user_id from email_verification_tokens") == owners
        sessions = column("select id from sessions")
        assert column("select session_id from refresh_tokens") == sessions
        opened = "select entity_id from audit_entries where action = 'session.opened'"
        assert column(opened) == sessions
    assert await told(nats_url, tenant) == {
        **{("user.created", one): 1 for one in users},
        **{("user.login", one): 1 for one in sessions},
    }


async def through_kills(place: Place, nats_url: str, *, kills: int) -> None:
    seed = time.time_ns()
    print(f"the moments of the kills are those of seed {seed}")
    process = auth_process(place, nats_url)
    try:
        async with world(place, process) as everybody:
            async with asyncio.timeout(DEADLINE + 15 * kills), asyncio.TaskGroup() as group:
                for founder in range(FOUNDERS):
                    group.create_task(everybody.found(founder))
                chance = random.Random(seed)
                group.create_task(kill_at_random(process, everybody, kills=kills, chance=chance))
            await process.ready()
            for person in everybody.people:
                await everybody.refresh(person)
                profile = await everybody.auth.get("/api/auth/profile", headers=person.bearer)
                assert profile.json()["email"] == person.email
                await everybody.login(person)
            async with asyncio.timeout(DEADLINE):
                while place.rows("select 1 from eventing.outbox limit 1"):
                    await asyncio.sleep(0.02)
    finally:
        end = await asyncio.to_thread(process.stop)

    assert end == 0
    assert everybody.lost > 0, "no request was under way when it was killed"
    registered = place.rows("select id from shared.organizations where status = 'active'")
    assert {row[0] for row in registered} == {person.tenant for person in everybody.people}
    for (tenant,) in registered:
        people = [person for person in everybody.people if person.tenant == tenant]
        await check(place, nats_url, tenant, people)


async def test_what_was_answered_holds_though_auth_service_is_killed(
    both: Place, nats_url: str
) -> None:
    await through_kills(both, nats_url, kills=3)


@pytest.mark.slow
async def test_what_was_answered_holds_though_auth_service_is_killed_again_and_again(
    both: Place, nats_url: str
) -> None:
    await through_kills(both, nats_url, kills=20)
