"""The servers go away and come back under a running app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx2 as httpx
import pytest

from contact_service import MIGRATIONS, ContactServiceSettings, create
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_config import Secret
from mtenant_devstack import Stack

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres", "valkey"], mode="durable") as opened:
        yield opened


async def test_what_was_answered_is_there_when_the_servers_are_back(stack: Stack) -> None:
    place = await asyncio.to_thread(Place.make, stack.urls["DATABASE_URL"], {"contact": MIGRATIONS})
    acme, issuer = await place.new_tenant(), Issuer()
    database = replace(
        place.settings("contact-service").database, connect_timeout=timedelta(seconds=1)
    )
    settings = place.settings(
        "contact-service",
        services={"auth-service": "http://auth"},
        redis_url=Secret(stack.urls["REDIS_URL"]),
        database=database,
    )
    nobody = httpx.MockTransport(lambda request: httpx.Response(404))
    app = create(settings, ContactServiceSettings(), keys=issuer.keys, transport=nobody)
    headers = issuer.bearer(acme, "owner")
    async with running(app) as http:
        made = await http.post("/api/contacts", headers=headers, json={"first_name": "Ada"})
        path = made.headers["location"]
        assert (await http.get(path, headers=headers)).status_code == 200

        stack.valkey.kill()
        changed = await http.patch(path, headers=headers, json={"last_name": "Lovelace"})
        assert changed.status_code == 200
        assert (await http.get(path, headers=headers)).json() == changed.json()
        stack.valkey.start()
        assert (await http.get(path, headers=headers)).json() == changed.json()

        stack.postgres.kill()
        for answer in (
            await http.post("/api/contacts", headers=headers, json={"first_name": "x"}),
            await http.get("/api/contacts/export", headers=headers),
            await http.post(
                "/api/contacts/import", headers=headers, files={"file": ("x.csv", b"email\na\n")}
            ),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/live")).status_code == 200
        assert (await http.get("/ready")).status_code == 503
        stack.postgres.start()
        async with asyncio.timeout(60):
            while (await http.get("/api/contacts", headers=headers)).status_code != 200:
                await asyncio.sleep(0.1)
        listed = (await http.get("/api/contacts", headers=headers)).json()["items"]
        assert listed == [changed.json()]
