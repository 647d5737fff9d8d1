"""A real process that is killed with SIGKILL while contacts are made: each of them is made and told once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator

import httpx2 as httpx
import nats
import pytest

from contact_service import MIGRATIONS
from mtenant_chassis.testing import Issuer, Place, Process, publishing_keys
from mtenant_events import EventsConfig

pytestmark = pytest.mark.anyio

DEADLINE = 60.0
CLIENTS = 6
CONFIG = EventsConfig(source="/test")


@pytest.fixture(scope="module")
def place(postgres_dsn: str) -> Place:
    """A database of its own: the process would take over the imports that other tests have left."""
    return Place.make(postgres_dsn, {"contact": MIGRATIONS})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def auth_url(issuer: Issuer) -> Iterator[str]:
    with publishing_keys(issuer) as url:
        yield url


class Makers:
    """Clients that make contacts until they are told that it is enough; each keeps its key until it is answered.

    Attributes:
        made: The id of the contact of each request.
        lost: How many requests had no answer.
        enough: Whoever is answered then makes no other contact.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> None:
        self.made: dict[str, str] = {}
        self.lost = 0
        self.enough = False
        self._client = client
        self._url = url
        self._headers = headers
        self._answered = asyncio.Condition()

    async def run(self, client: int) -> None:
        number = 0
        while not self.enough:
            name = f"p{client}-{number}"
            answer = await self._until_answered(name)
            async with self._answered:
                self.made[name] = answer.json()["id"]
                self._answered.notify_all()
            number += 1

    async def more(self, number: int) -> None:
        """Wait until so many more contacts are made."""
        async with self._answered:
            wanted = len(self.made) + number
            await self._answered.wait_for(lambda: len(self.made) >= wanted)

    async def send(self, name: str) -> httpx.Response:
        return await self._client.post(
            self._url,
            json={"first_name": name, "email": f"{name}@example.com"},
            headers={**self._headers, "idempotency-key": name},
        )

    async def _until_answered(self, name: str) -> httpx.Response:
        while True:
            try:
                answer = await self.send(name)
            except httpx.HTTPError as exc:
                self.lost += not isinstance(exc, httpx.ConnectError)
            else:
                if answer.status_code == 201:
                    return answer
                # The database may not know yet that the process is dead whose transaction holds the key.
                busy = answer.status_code == 409 and answer.json()["code"] == "REQUEST_IN_PROGRESS"
                assert busy or answer.status_code == 503, answer.text
            await asyncio.sleep(0.05)


async def told(nats_url: str, tenant: str) -> Counter[str]:
    """Count the events of new contacts in the stream, by the contact."""
    client = await nats.connect(nats_url)
    try:
        reader = await client.jetstream().pull_subscribe(
            f"{CONFIG.prefix}.evt.{tenant}.contact.created.>", stream=CONFIG.stream
        )
        found = Counter[str]()
        left = (await reader.consumer_info()).num_pending
        while left:
            for message in await reader.fetch(min(left, 100)):
                found[json.loads(message.data)["data"]["contact_id"]] += 1
                left -= 1
        return found
    finally:
        await client.close()


async def kill_at_random(
    process: Process, makers: Makers, *, kills: int, chance: random.Random
) -> None:
    """Kill a process again and again while contacts are made, each time at another moment of a request."""
    for _ in range(kills):
        await makers.more(chance.randint(1, 30))
        await asyncio.sleep(chance.uniform(0, 0.02))
        await asyncio.to_thread(process.kill)
        process.start()
    await makers.more(CLIENTS)
    makers.enough = True


async def make_through_kills(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str, *, kills: int
) -> None:
    seed = time.time_ns()
    print(f"the moments of the kills are those of seed {seed}")
    tenant = await place.new_tenant()
    process = Process(
        "contact_service",
        place,
        nats_url,
        AUTH_SERVICE_URL=auth_url,
        SERVICE_CLIENT_SECRET="s3cr3t",
    )
    process.start()
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            await process.ready()
            url = f"{process.url}/api/contacts"
            headers = issuer.bearer(tenant, "member", expires=time.time() + 600)
            makers = Makers(client, url, headers)
            async with asyncio.timeout(DEADLINE + 10 * kills), asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(makers.run(number))
                killing = kill_at_random(process, makers, kills=kills, chance=random.Random(seed))
                group.create_task(killing)
            await process.ready()
            for name, contact in makers.made.items():
                again = await makers.send(name)
                assert (again.status_code, again.json()["id"]) == (201, contact)
                assert again.headers["idempotent-replayed"] == "true"
            waiting = f"select 1 from eventing.outbox where tenant = '{tenant}'"
            async with asyncio.timeout(DEADLINE):
                while place.rows(waiting):
                    await asyncio.sleep(0.02)
    finally:
        end = await asyncio.to_thread(process.stop)

    assert end == 0
    assert makers.lost > 0, "no request was under way when it was killed"
    rows = place.rows(f"select first_name, id::text from tenant_{tenant}.contacts")
    assert sorted(rows) == sorted(makers.made.items())
    once = dict.fromkeys(makers.made.values(), 1)
    audited = place.rows(
        f"select entity_id, count(*) from tenant_{tenant}.audit_entries"
        " where action = 'contact.created' group by entity_id"
    )
    assert dict(audited) == once
    assert await told(nats_url, tenant) == once


async def test_contacts_are_made_once_though_the_process_is_killed(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str
) -> None:
    await make_through_kills(place, issuer, auth_url, nats_url, kills=3)


@pytest.mark.slow
async def test_contacts_are_made_once_though_the_process_is_killed_again_and_again(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str
) -> None:
    await make_through_kills(place, issuer, auth_url, nats_url, kills=25)
