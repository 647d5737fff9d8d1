"""Servers that go away and come back, under an app that is not started again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from mtenant_chassis import App, Router, Tenant, create_app, requires
from mtenant_chassis.app import CurrentChassis
from mtenant_chassis.cache import Cached
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_devstack import Stack

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Servers that nobody else uses: they are killed here."""
    with Stack(["postgres", "valkey"], mode="durable") as stack:
        yield stack


@pytest.fixture(scope="module")
def own_place(stack: Stack) -> Place:
    return Place.make(stack.postgres.url)


@pytest.fixture
def tenant(own_place: Place) -> str:
    name = own_place.tenant()
    own_place.rows(
        f"set role {own_place.migrate.owner}; create table tenant_{name}.notes"
        " (id uuid primary key, title text not null unique, version int not null default 1,"
        " created_at timestamptz not null default clock_timestamp())"
    )
    return name


def impatient(place: Place) -> DatabaseConfig:
    """Its database, for which a request waits a second."""
    found = place.settings("note-service").database
    return replace(found, connect_timeout=timedelta(seconds=1))


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.05)


async def status(client: httpx.AsyncClient, path: str, **options: Any) -> int:
    return (await client.get(path, **options)).status_code


async def test_without_postgresql_it_says_so_and_with_it_again_it_works_again(
    stack: Stack, own_place: Place, notes_app: Any, issuer: Issuer, tenant: str
) -> None:
    sink = MemoryTransport()
    app = notes_app(at=own_place, mail=sink, database=impatient(own_place))
    member = issuer.bearer(tenant, "member")
    async with running(app) as client:
        assert await status(client, "/api/notes", headers=member) == 200
        stack.postgres.kill()
        try:
            for _ in range(3):
                asked = await client.get("/api/notes", headers=member)
                wrote = await client.post("/api/notes", headers=member, json={"title": "a"})
                for answer in (asked, wrote):
                    assert answer.status_code == 503
                    assert answer.json()["retryable"]
                    assert int(answer.headers["retry-after"]) >= 1
            assert await status(client, "/live") == 200
            assert await status(client, "/metrics") == 200
            await until(lambda: _is(client, "/ready", 503))
            await until(lambda: _is(client, "/health", 503))
            assert (await client.get("/health")).json()["services"]["database"] == "unhealthy"
        finally:
            stack.postgres.start()
        await until(lambda: _is(client, "/ready", 200))
        await until(lambda: _is(client, "/api/notes", 200, headers=member))
        answer = await client.post("/api/notes", headers=member, json={"title": "b"})
        assert answer.status_code == 201
        await client.post("/api/notes/mail", headers=member, json={"title": "after"})
        await until(lambda: asyncio.sleep(0, sink.sent))  # the mailer is back, too


async def _is(client: httpx.AsyncClient, path: str, wanted: int, **options: Any) -> bool:
    return await status(client, path, **options) == wanted


async def _more(answered: set[str], enough: int) -> bool:
    return len(answered) > enough


async def test_postgresql_that_is_killed_in_the_middle_of_writes_loses_no_answered_one(
    stack: Stack, own_place: Place, notes_app: Any, issuer: Issuer, tenant: str
) -> None:
    member = issuer.bearer(tenant, "member")
    answered: set[str] = set()
    ended = asyncio.Event()

    async def write(client: httpx.AsyncClient, worker: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            title = f"{worker}-{number}"
            for _ in range(500):
                answer = await client.post(
                    "/api/notes",
                    headers={**member, "idempotency-key": title},
                    json={"title": title},
                )
                if answer.status_code == 201:
                    answered.add(title)
                    break
                assert answer.status_code in {503, 504, 409}, answer.text
                await asyncio.sleep(0.05)

    async with running(notes_app(at=own_place, database=impatient(own_place))) as client:
        writers = [asyncio.create_task(write(client, worker)) for worker in range(4)]
        await until(lambda: asyncio.sleep(0, len(answered) > 20))
        for _ in range(2):
            stack.postgres.kill()
            stack.postgres.start()
            enough = len(answered) + 20
            await until(partial(_more, answered, enough))
        ended.set()
        await asyncio.gather(*writers)

    rows = own_place.rows(f"select title from tenant_{tenant}.notes")
    assert answered <= {title for (title,) in rows}
    entries = own_place.rows(f"select count(*) from tenant_{tenant}.audit_entries")
    assert entries == [(len(rows),)]  # each happened once, with what belongs to it


def cached_app(place: Place, issuer: Issuer, redis_url: str) -> tuple[App, list[int]]:
    """An app that has a value in the cache, and the loads that it took."""
    loads: list[int] = []
    router = Router(prefix="/api/values")

    @router.get("", dependencies=[requires("values:read")])
    async def value(tenant: Tenant, chassis: CurrentChassis) -> Any:
        async def load() -> Cached:
            loads.append(1)
            return Cached(1, {"tenant": tenant.id})

        return await chassis.cache.tenant(tenant.id, "value", seconds=60).get("one", load)

    settings = place.settings(f"value-a{uuid4().hex[:8]}-service", redis_url=Secret(redis_url))
    return create_app(settings, routers=[router], keys=issuer.keys), loads


async def test_without_redis_everything_works(
    stack: Stack, own_place: Place, issuer: Issuer, tenant: str
) -> None:
    app, loads = cached_app(own_place, issuer, stack.valkey.url)
    viewer = issuer.bearer(tenant, "viewer")
    async with running(app) as client:
        assert await status(client, "/api/values", headers=viewer) == 200
        stack.valkey.kill()
        try:
            answers = [await client.get("/api/values", headers=viewer) for _ in range(10)]
            assert {one.status_code for one in answers} == {200}
            assert {json.dumps(one.json()) for one in answers} == {json.dumps({"tenant": tenant})}
            assert len(loads) <= 3  # this process's own cache serves
            assert await status(client, "/ready") == 200
            await until(lambda: _is(client, "/health", 503))
            health = (await client.get("/health")).json()
            assert (health["status"], health["services"]["cache"]) == ("degraded", "unhealthy")
        finally:
            stack.valkey.start()
        await until(lambda: _is(client, "/health", 200))
        assert await status(client, "/api/values", headers=viewer) == 200


async def test_it_starts_without_redis_too(
    own_place: Place, issuer: Issuer, tenant: str, unused_port: int
) -> None:
    app, _ = cached_app(own_place, issuer, f"redis://127.0.0.1:{unused_port}")
    async with running(app) as client:
        viewer = issuer.bearer(tenant, "viewer")
        assert await status(client, "/api/values", headers=viewer) == 200
        assert await status(client, "/ready") == 200


class Deaf:
    """A Redis that takes connections and never answers."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(ignore, "127.0.0.1", 0)
        async with server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_redis_that_does_not_answer_costs_one_request_its_timeout_and_not_all(
    own_place: Place, issuer: Issuer, tenant: str
) -> None:
    async with Deaf().listening() as url:
        app, _ = cached_app(own_place, issuer, url)
        async with running(app) as client, asyncio.timeout(20):
            viewer = issuer.bearer(tenant, "viewer")
            answers = [await client.get("/api/values", headers=viewer) for _ in range(100)]

    assert {one.status_code for one in answers} == {200}
