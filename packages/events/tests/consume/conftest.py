"""Servers of a test's own, which it may kill, and what the tests of consumers share."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from mtenant_config import Secret
from mtenant_devstack import Server, Stack
from mtenant_events.bus import EventBus
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.letter_stream import LetterStream
from mtenant_events.deadletter import DeadLetter, DeadLetters
from mtenant_events.event import Event

DEADLINE = 30.0  # seconds; only a test that fails waits so long
_numbers = itertools.count()


async def _ignore(error: Exception) -> None:
    pass  # a lost connection is what some tests are about


@dataclass
class Place:
    """Streams of their own on a server, and a second client beside the bus."""

    config: EventsConfig
    bus: Any = None
    client: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventBus]:
        """Connect a bus, and make the streams."""
        self.client = await nats.connect(
            list(self.config.servers),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,
            error_cb=_ignore,
        )
        try:
            async with EventBus.connect(self.config) as bus:
                self.bus = bus
                await bus.topology.ensure()
                yield bus
        finally:
            await self.client.close()

    def event(
        self, deal: object = "d", *, tenant: str = "acme", key: str | None = None
    ) -> Event[Any]:
        """Make an event."""
        return Event(type="deal.won", source="/t", tenant=tenant, data={"deal": deal}, subject=key)

    async def dead(self) -> list[DeadLetter]:
        """Return all dead letters."""
        letters = DeadLetters(
            LetterStream(self.client, self.config), self.bus.transport, self.config
        )
        return [letter async for letter in letters.find()]

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until nothing is left for any consumer."""
        manager = self.client.jsm()
        deadline = time.monotonic() + DEADLINE
        while True:
            infos = await manager.consumers_info(self.config.stream)
            if not any((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos):
                return
            assert time.monotonic() < deadline, "something is left"
            await asyncio.sleep(0.01)


def _config(url: str, **options: Any) -> EventsConfig:
    name = f"W{os.getpid()}_{next(_numbers)}"
    return EventsConfig(
        url=Secret(url),
        prefix=name.lower(),
        stream=name,
        dead_letter_stream=f"{name}_DLQ",
        **options,
    )


@pytest.fixture
def place(nats_url: str) -> Place:
    """Streams on the server that all tests share."""
    return Place(_config(nats_url))


@pytest.fixture
def place_on() -> Callable[..., Place]:
    """Make streams on a server, named by its URL."""
    return lambda url, **options: Place(_config(url, **options))


@pytest.fixture
def own_nats() -> Iterator[Server]:
    """A server of the test's own."""
    with Stack(["nats"], mode="durable") as stack:
        yield stack.nats


@pytest.fixture
def raw() -> type[Client]:
    """The client of nats-py, for what no bus would send."""
    return Client
