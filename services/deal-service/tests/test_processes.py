"""Two real processes, one of which is killed with SIGKILL again and again: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Place, Process, publishing_keys
from mtenant_config import Secret
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio

DEADLINE = 60.0


@pytest.fixture
def auth_url(issuer: Issuer) -> Iterator[str]:
    with publishing_keys(issuer) as url:
        yield url


class Closer:
    """Begins deals and wins them, by whichever of two processes answers, as often as it takes."""

    def __init__(self, client: httpx.AsyncClient, processes: list[Process], member: Any) -> None:
        self.won: set[str] = set()
        self._client = client
        self._processes = processes
        self._member = member

    async def close(self, n: int) -> None:
        key = {"idempotency-key": f"key-{n}"}
        body = {"name": f"d{n}", "amount_minor": n, "currency": "EUR"}
        made = await self._ask(n, "POST", "/api/deals", body, **key)
        won = await self._ask(n, "PUT", made.headers["location"], {"stage": "closed_won"})
        self.won.add(won.json()["id"])

    async def _ask(self, n: int, method: str, path: str, body: Any, **more: str) -> httpx.Response:
        headers = {**self._member, **more}
        for turn in range(1000):
            url = self._processes[(n + turn) % 2].url + path
            with suppress(httpx.HTTPError):
                answer = await self._client.request(method, url, json=body, headers=headers)
                if answer.status_code in {200, 201}:
                    return answer
                assert answer.status_code in {409, 503}, answer.text
            await asyncio.sleep(0.05)
        raise AssertionError("it took too long")


async def kill_and_close(closer: Closer, processes: list[Process], deals: int, kills: int) -> None:
    for kill in range(kills + 1):
        wave = range(kill, deals, kills + 1)
        work = asyncio.gather(*(closer.close(n) for n in wave))
        if kill < kills:
            target = len(closer.won) + len(wave) // 3
            while len(closer.won) < target:
                await asyncio.sleep(0.001)
            victim = processes[kill % 2]
            await asyncio.to_thread(victim.kill)
            victim.start()
        await work
    for one in processes:
        await one.ready()


async def through_kills(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str, *, deals: int, kills: int
) -> None:
    tenant = await place.new_tenant()
    member = issuer.bearer(tenant, "member", expires=time.time() + 600)
    seen: Counter[tuple[str, str]] = Counter()
    subs = Subscriptions()

    @subs.on("deal.created", "deal.closed_won", name=f"watch_{tenant}")
    async def watch(event: Event[Any]) -> None:
        if event.tenant == tenant:
            seen[event.type, event.data["deal_id"]] += 1

    environ = {
        "AUTH_SERVICE_URL": auth_url,
        "CONTACT_SERVICE_URL": "http://127.0.0.1:1",
        "SERVICE_CLIENT_SECRET": "s3cr3t",
    }
    processes = [Process("deal_service", place, nats_url, **environ) for _ in range(2)]
    for one in processes:
        one.start()
    try:
        for one in processes:
            await one.ready()
        async with (
            EventBus.connect(EventsConfig(url=Secret(nats_url), source="/watcher")) as bus,
            httpx.AsyncClient(timeout=5, trust_env=False) as client,
            asyncio.timeout(2 * DEADLINE),
        ):
            await bus.include(subs, service="watcher").ready()
            closer = Closer(client, processes, member)
            await kill_and_close(closer, processes, deals, kills)
            while len(seen) < 2 * deals:
                await asyncio.sleep(0.02)
    finally:
        ends = [await asyncio.to_thread(one.stop) for one in processes]

    assert len(closer.won) == deals
    kinds = ("deal.created", "deal.closed_won")
    assert seen == {(kind, one): 1 for kind in kinds for one in closer.won}
    assert place.rows(
        "select count(*), count(distinct name), count(*) filter (where status = 'won')"
        f" from tenant_{tenant}.deals"
    ) == [(deals, deals, deals)]
    assert place.rows(f"select count(*) from tenant_{tenant}.deal_visits") == [(2 * deals,)]
    assert ends == [0, 0]


async def test_a_process_that_is_killed_loses_nothing_and_does_nothing_twice(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str
) -> None:
    await through_kills(place, issuer, auth_url, nats_url, deals=24, kills=1)


@pytest.mark.slow
async def test_processes_that_are_killed_again_and_again_lose_nothing(
    place: Place, issuer: Issuer, auth_url: str, nats_url: str
) -> None:
    await through_kills(place, issuer, auth_url, nats_url, deals=200, kills=6)
