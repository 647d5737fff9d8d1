"""The servers go away and come back under a running app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from deal_service import MIGRATIONS, DealServiceSettings, create
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_config import Secret
from mtenant_devstack import Stack

pytestmark = pytest.mark.anyio

NEW = {"name": "x", "amount_minor": 1, "currency": "EUR"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres", "nats"], mode="durable") as opened:
        yield opened


def nobody(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


async def check_outages(stack: Stack, issuer: Issuer, *, until_it_is_back: bool) -> None:
    place = await asyncio.to_thread(Place.make, stack.urls["DATABASE_URL"], {"deal": MIGRATIONS})
    acme = await place.new_tenant()
    patient = place.settings("deal-service").database
    settings = place.settings(
        "deal-service",
        services={"auth-service": "http://auth", "contact-service": "http://contact"},
        nats_url=Secret(stack.urls["NATS_URL"]),
        database=replace(patient, connect_timeout=timedelta(seconds=1)),
        auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
    )
    app = create(
        settings,
        DealServiceSettings(),
        keys=issuer.keys,
        transport=httpx.MockTransport(nobody),
    )
    member = issuer.bearer(acme, "member")

    def waiting() -> Any:
        return place.rows("select count(*) from eventing.outbox")[0][0]

    async with running(app) as http:
        first = await http.post("/api/deals", json=NEW, headers=member)
        assert first.status_code == 201, first.text
        async with asyncio.timeout(30):
            while waiting():
                await asyncio.sleep(0.02)

        stack.nats.kill()
        second = await http.post("/api/deals", json=NEW, headers=member)
        assert second.status_code == 201, second.text
        assert (await http.get("/ready")).status_code == 200
        assert waiting() == 1
        stack.nats.start()
        async with asyncio.timeout(60):
            while waiting():
                await asyncio.sleep(0.05)

        stack.postgres.kill()
        keyed = {**member, "idempotency-key": "k"}
        for answer in (
            await http.post("/api/deals", json=NEW, headers=keyed),
            await http.get("/api/deals", headers=member),
            await http.get("/api/deals/forecast", headers=member),
            await http.put(first.headers["location"], json={"name": "y"}, headers=member),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/live")).status_code == 200
        stack.postgres.start()
        if not until_it_is_back:
            return
        async with asyncio.timeout(60):
            while (await http.post("/api/deals", json=NEW, headers=keyed)).status_code != 201:
                await asyncio.sleep(0.1)
        assert (await http.get("/ready")).status_code == 200
        listed = (await http.get("/api/deals", headers=member)).json()["items"]
        assert len(listed) == 3


async def test_without_nats_deals_are_made_and_without_a_database_503_says_when_to_come_again(
    stack: Stack, issuer: Issuer
) -> None:
    await check_outages(stack, issuer, until_it_is_back=False)


@pytest.mark.slow  # the breaker of the database lets the first one through after ten seconds
async def test_a_database_that_comes_back_has_what_was_answered_and_takes_what_was_not(
    stack: Stack, issuer: Issuer
) -> None:
    await check_outages(stack, issuer, until_it_is_back=True)
