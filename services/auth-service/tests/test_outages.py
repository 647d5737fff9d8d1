"""The servers go away and come back under a running app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from auth_service import create
from auth_service.app import MIGRATIONS
from auth_service.domain.event import UserCreated, UserLogin
from mtenant_chassis.testing import Place, running
from mtenant_config import Secret
from mtenant_devstack import Stack
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres", "valkey", "nats"], mode="durable") as opened:
        yield opened


def invitation(request: httpx.Request) -> httpx.Response:
    said = {"id": "i1", "email": "ada@example.com", "role": "owner"}
    return httpx.Response(200, json=said)


async def test_what_needs_no_database_answers_without_it_and_the_rest_comes_back(
    stack: Stack, own: Any
) -> None:
    place = await asyncio.to_thread(Place.make, stack.urls["DATABASE_URL"], {"auth": MIGRATIONS})
    acme = await place.new_tenant()
    patient = place.settings("auth-service").database
    impatient = replace(patient, connect_timeout=timedelta(seconds=1))
    settings = place.settings(
        "auth-service",
        services={"tenant-service": "http://tenant-service"},
        redis_url=Secret(stack.urls["REDIS_URL"]),
        nats_url=Secret(stack.urls["NATS_URL"]),
        database=impatient,
    )
    app = create(settings, own(), transport=httpx.MockTransport(invitation))
    body = {"tenant": acme, "email": "ada@example.com", "password": PASSWORD}
    seen: list[Event[Any]] = []
    subs = Subscriptions()

    @subs.on(UserCreated, name="keep_created")
    async def keep_created(event: Event[UserCreated]) -> None:
        seen.append(event)

    @subs.on(UserLogin, name="keep_login")
    async def keep_login(event: Event[UserLogin]) -> None:
        seen.append(event)

    async with running(app) as http:
        made = await http.post(
            "/api/auth/register", json={**body, "name": "Ada", "invitation_token": "t"}
        )
        assert made.status_code == 201, made.text
        tokens = (await http.post("/api/auth/login", json=body)).json()
        bearer = {"authorization": f"Bearer {tokens['access_token']}"}
        refresh = {"refresh_token": tokens["refresh_token"]}

        async with EventBus.connect(EventsConfig(url=Secret(stack.urls["NATS_URL"]))) as bus:
            group = bus.include(subs, service="watcher")
            async with asyncio.timeout(30):
                await group.ready()
                while len(seen) < 2:
                    await asyncio.sleep(0.01)
        assert {event.type for event in seen} == {"user.created", "user.login"}
        assert {event.tenant for event in seen} == {acme}
        for name in ("access_token", "refresh_token"):
            assert tokens[name] not in repr(seen)

        stack.valkey.kill()
        assert (await http.get("/api/auth/validate-token", headers=bearer)).status_code == 200
        again = await http.post("/api/auth/refresh", json=refresh)
        assert again.status_code == 200
        stack.valkey.start()

        stack.postgres.kill()
        for answer in (
            await http.post("/api/auth/login", json=body),
            await http.post("/api/auth/refresh", json=refresh),
            await http.get("/api/auth/profile", headers=bearer),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/live")).status_code == 200
        assert (await http.get("/ready")).status_code == 503
        assert (await http.get("/.well-known/jwks.json")).status_code == 200
        stack.postgres.start()
        async with asyncio.timeout(60):
            while (await http.post("/api/auth/login", json=body)).status_code != 200:
                await asyncio.sleep(0.1)
        assert (await http.get("/api/auth/profile", headers=bearer)).status_code == 200
