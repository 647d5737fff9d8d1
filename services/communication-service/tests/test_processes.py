"""Several processes that are killed: each event has its effect once, each mail one Message-ID, and is told once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest

from communication_service import MIGRATIONS
from communication_service.domain.event import EmailSent
from mtenant_chassis.testing import Place
from mtenant_config import Secret
from mtenant_devstack import Stack
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("process.py")
PATIENCE = 120.0  # seconds; only a test that fails waits so long


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres", "nats"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def away(stack: Stack) -> Place:
    """A database of its own, beside a NATS of its own."""
    return Place.make(stack.urls["DATABASE_URL"], {"communication": MIGRATIONS})


class Processes:
    """The service, as often as is wanted; `async with` it: nothing of it outlives the test.

    Args:
        place: Where the tables are.
        nats: Where events are.
        directory: Where mails are written.
    """

    def __init__(self, place: Place, nats: str, directory: Path) -> None:
        self._command = [sys.executable, str(PROGRAM), place.app, nats, str(directory)]

    async def __aenter__(self) -> Self:
        self._parent = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._parent.returncode is None:
            os.killpg(self._parent.pid, signal.SIGKILL)
            await self._parent.wait()

    async def start(self, doom: str = "never") -> int:
        """Start one more; return its id."""
        return await self._ask(doom)

    async def wait(self) -> int:
        """Wait until the first that was started is dead; return how it ended."""
        return await self._ask("wait")

    async def stop(self) -> list[int]:
        """End those that live; return how each ended, in the order in which they were started."""
        async with asyncio.timeout(PATIENCE):
            told, _ = await self._parent.communicate(b"")  # which ends its input
        return [int(one) for one in told.split()]

    async def _ask(self, line: str) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self._parent.stdin.write(f"{line}\n".encode())
            return int(await self._parent.stdout.readline())


def deal(tenant: str) -> Event[Any]:
    data = {
        "deal_id": str(uuid4()),
        "name": "D",
        "amount_minor": 100,
        "currency": "EUR",
        "owner_id": None,
        "contact_ids": [str(uuid4())],
    }
    return Event(type="deal.closed_won", source="/deal-service", tenant=tenant, data=data)


def user(tenant: str) -> Event[Any]:
    which = uuid4().hex
    data = {"user_id": which, "email": f"{which}@example.com", "name": "N", "role": "member"}
    return Event(type="user.created", source="/auth-service", tenant=tenant, data=data)


async def story(
    place: Place, stack: Stack, directory: Path, *, dooms: list[str], count: int, kills: int
) -> None:
    tenant, nats = await place.new_tenant(), stack.urls["NATS_URL"]
    told: Counter[str] = Counter()
    seen: set[str] = set()
    subs = Subscriptions()

    @subs.on(EmailSent, name=f"watch_{tenant}")
    async def watch(event: Event[EmailSent]) -> None:
        if event.tenant == tenant and event.id not in seen:
            seen.add(event.id)
            told[event.data.email_id] += 1

    def number(what: str) -> int:
        return int(place.rows(f"select count(*) from tenant_{tenant}.{what}")[0][0])

    async with (
        Processes(place, nats, directory) as processes,
        EventBus.connect(EventsConfig(url=Secret(nats))) as bus,
    ):
        for doom in dooms:
            await processes.start(doom)
        await bus.topology.ensure()
        bus.include(subs, service="watcher")
        for _ in range(count):
            await bus.publish(deal(tenant))
            await bus.publish(user(tenant))
        assert {await processes.wait() for _ in dooms} == {-signal.SIGKILL}
        running = [await processes.start() for _ in range(2 if kills else 1)]
        for _ in range(kills):
            await asyncio.sleep(random.uniform(0.1, 1.0))
            victim = running.pop(0)
            os.kill(victim, signal.SIGKILL)
            running.append(await processes.start())
        # The welcome, and the first of the two mails that follow a deal; the second is for next week.
        async with asyncio.timeout(PATIENCE):
            while number("emails where status = 'sent'") < 2 * count or len(told) < 2 * count:
                await asyncio.sleep(0.05)
        ends = await processes.stop()
    assert ends.count(-signal.SIGKILL) == kills
    assert number("activities where kind = 'note'") == count
    assert number("activities where kind = 'email'") == count
    assert number("emails where template_key = 'welcome'") == count
    assert number("emails where template_key = 'deal-won-thanks'") == count
    assert (
        number("emails where template_key = 'deal-won-check-in' and status = 'scheduled'") == count
    )
    assert set(told.values()) == {1}
    sent = {name.removesuffix(".eml") for name in os.listdir(directory) if name.endswith(".eml")}
    rows = place.rows(f"select id from tenant_{tenant}.emails where status = 'sent'")
    assert sent == {row[0].hex for row in rows}  # one Message-ID each


async def test_events_and_mails_are_handled_once_though_processes_die_around_their_commits(
    away: Place, stack: Stack, tmp_path: Path
) -> None:
    dooms = ["before:2", "after:3"]
    await story(away, stack, tmp_path, dooms=dooms, count=4, kills=0)


@pytest.mark.slow
async def test_events_and_mails_are_handled_once_though_two_processes_are_killed_at_random(
    away: Place, stack: Stack, tmp_path: Path
) -> None:
    dooms = [f"{when}:{n}" for n in (1, 4, 6) for when in ("before", "after")]
    await story(away, stack, tmp_path, dooms=dooms, count=40, kills=10)
