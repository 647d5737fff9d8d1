"""The two worlds in which a bus must behave alike: one in memory, one with a server."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats
import pytest

from mtenant_config import Secret
from mtenant_events.bus import EventBus
from mtenant_events.codec import encode
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.letter_stream import LetterStream
from mtenant_events.deadletter import DeadLetter, DeadLetters
from mtenant_events.event import Event
from mtenant_events.memory import MemoryBus, MemoryInbox

DEADLINE = 20.0  # seconds; only a test that fails waits so long
_numbers = itertools.count()

Bus = EventBus | MemoryBus


@dataclass
class World:
    """A bus with streams of its own, and what a test asks of it."""

    kind: str
    config: EventsConfig
    inbox: MemoryInbox = field(default_factory=MemoryInbox)
    bus: Any = None
    letters: Any = None
    groups: list[Any] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        """Connect, with new streams."""
        if self.kind == "memory":
            async with MemoryBus(self.config, inbox=self.inbox) as memory:
                self.bus, self.letters = memory, memory.letters
                yield self
            return
        client = await nats.connect(self.config.servers[0])
        try:
            async with EventBus.connect(self.config) as bus:
                await bus.topology.ensure()
                self.bus = bus
                self.letters = DeadLetters(
                    LetterStream(client, self.config), bus.transport, self.config
                )
                yield self
        finally:
            for stream in (self.config.stream, self.config.dead_letter_stream):
                await client.jsm().delete_stream(stream)
            await client.close()

    def include(self, subs: Any, **options: Any) -> Any:
        """Start handlers, with this world's inbox."""
        options.setdefault("service", "svc")
        if any(one.wants_tx for one in subs):
            options.setdefault("unit_of_work", lambda event: self.inbox.transaction(event.tenant))
        if self.kind == "memory":
            return self.bus.include(subs, **options)
        group = self.bus.include(subs, **options)
        self.groups.append(group)
        for consumer in group.consumers:
            consumer._handling._inbox = self.inbox  # the database's is tested where one is
        return group

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened; in memory by letting virtual time pass."""
        deadline = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < deadline, "it did not happen in time"
            if self.kind == "memory":
                await self.bus.advance(0.5)
            else:
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until nothing is left to do for any consumer of the stream."""
        if self.kind == "memory":
            await self.bus.settle()
            return
        for group in self.groups:
            await group.ready()
        manager = self.bus.transport._client.jsm()
        deadline = time.monotonic() + DEADLINE
        while True:
            infos = await manager.consumers_info(self.config.stream)
            if not any((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos):
                return
            assert time.monotonic() < deadline, "something is left"
            await asyncio.sleep(0.01)

    async def sleep(self, seconds: float) -> None:
        """What a handler that takes time awaits."""
        await (self.bus.clock.sleep(seconds) if self.kind == "memory" else asyncio.sleep(seconds))

    def now(self) -> float:
        """The time that `sleep` takes."""
        return float(self.bus.clock.now()) if self.kind == "memory" else time.monotonic()

    async def passing(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await something that takes time."""
        task = asyncio.ensure_future(ending)
        await self.until(task.done)
        await task

    def subject(self, tenant: str = "acme", type_: str = "deal.won") -> str:
        """A subject of an event."""
        return f"{self.config.prefix}.evt.{tenant}.{type_}.3"

    def body(self, event: Event[Any]) -> bytes:
        """The body of an event's message."""
        return encode(event, self.config).body

    async def dead(self) -> list[DeadLetter]:
        """Return all dead letters."""
        return [letter async for letter in self.letters.find()]

    async def publish(self, *deals: str, tenant: str = "acme", type_: str = "deal.won") -> None:
        """Publish an event for each deal."""
        for deal in deals:
            event = Event(type=type_, source="/t", tenant=tenant, data={"deal": deal}, subject=deal)
            await self.bus.publish(event)


@pytest.fixture(params=["memory", "nats"])
def world(request: pytest.FixtureRequest) -> World:
    """A world of its own."""
    name, url = f"C{os.getpid()}_{next(_numbers)}", "nats://127.0.0.1:4222"
    if request.param == "nats":
        url = request.getfixturevalue("nats_url")
    config = EventsConfig(
        url=Secret(url), prefix=name.lower(), stream=name, dead_letter_stream=f"{name}_DLQ"
    )
    return World(request.param, config)
