"""What publishing costs beside the bare client, and all that belongs to events on real servers.

Events exist before they are timed, and so do the peers' messages, of the same subject, headers and body.
What this package does to make a message of an event is timed with it. With `--publish` only that is
measured, and nothing of consumers and the outbox.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import events_consume
import events_outbox
import nats
from faststream.nats import NatsBroker
from harness import Bound, Case, Comparison, report
from nats.aio.client import Client

from mtenant_config import Secret
from mtenant_devstack import Stack
from mtenant_errors import AppError
from mtenant_events import Event, EventBus, EventsConfig, Message, event_type
from mtenant_events.codec import MESSAGE_ID, encode

PUBLISHERS = 64

OURS = "EventBus.publish"
BARE = "js.publish"
FASTSTREAM = "FastStream publisher with a stream"
MANY = "EventBus.publish_many"
BARE_MANY = f"js.publish, {PUBLISHERS} at once"

_numbers = itertools.count()


@event_type("deal.closed_won")
@dataclass(frozen=True, slots=True)
class DealClosedWon:
    """The payload."""

    deal_id: str
    amount: int
    currency: str


def event() -> Event[DealClosedWon]:
    """Make an event."""
    number = next(_numbers)
    return Event(
        type="deal.closed_won",
        source="/bench",
        tenant="acme",
        data=DealClosedWon(f"deal-{number}", 90_000, "EUR"),
        subject=f"deal-{number % 100}",
        actor="user-7",
    )


class Supply:
    """Events that were made before they are needed, so that the making is not timed."""

    def __init__(self, count: int) -> None:
        self._events = [event() for _ in range(count)]

    def take(self, count: int) -> list[Event[DealClosedWon]]:
        """Return some that nobody has had."""
        if len(self._events) < count:
            self._events += [event() for _ in range(count)]
        taken = self._events[-count:]
        del self._events[-count:]
        return taken


def headers(message: Message) -> dict[str, str]:
    """Return the headers of a message, with an id that is new."""
    return {**message.headers, MESSAGE_ID: f"acme:01890a5d-ac96-774b-bcce-{next(_numbers):012d}"}


def publishing(
    runner: asyncio.Runner, bus: EventBus, client: Client, broker: NatsBroker
) -> list[Comparison]:
    """Compare publishing one by one, and many at a time."""
    stream, message = client.jetstream(), encode(event(), bus.config)
    supply = Supply(150_000)
    publisher = broker.publisher(message.subject, stream=bus.config.stream)

    async def ours(n: int) -> None:
        for one in supply.take(n):
            await bus.publish(one)

    async def bare(n: int) -> None:
        for _ in range(n):
            await stream.publish(message.subject, message.body, headers=headers(message))

    async def faststream(n: int) -> None:
        for _ in range(n):
            await publisher.publish(message.body, headers=headers(message))

    async def many(n: int) -> None:
        results = await bus.publish_many(supply.take(n))
        assert not any(isinstance(result, AppError) for result in results)

    async def bare_many(n: int) -> None:
        numbers = iter(range(n))

        async def one() -> None:
            for _ in numbers:
                await stream.publish(message.subject, message.body, headers=headers(message))

        await asyncio.gather(*(one() for _ in range(PUBLISHERS)))

    def case(name: str, run: Callable[[int], Coroutine[Any, Any, None]]) -> Case:
        return Case(name, lambda n: runner.run(run(n)))

    return [
        Comparison(
            "events: publish one by one, each acknowledged",
            [case(OURS, ours), case(BARE, bare), case(FASTSTREAM, faststream)],
            [Bound(OURS, BARE, 1 / 0.85), Bound(OURS, FASTSTREAM, 1 / 0.9)],
            rounds=15,
            seconds_a_turn=0.1,
        ),
        Comparison(
            "events: publish many, each acknowledged",
            [case(MANY, many), case(BARE_MANY, bare_many)],
            [Bound(MANY, BARE_MANY, 1.0)],
            rounds=15,
            seconds_a_turn=0.15,
        ),
    ]


async def outbox(
    stack: AsyncExitStack, runner: asyncio.Runner, servers: Stack, bus: EventBus, client: Client
) -> list[Comparison]:
    """Return what is compared of the outbox."""
    place = events_outbox.Ground(
        runner,
        servers.postgres.url,
        client,
        bus.transport,
        bus.config,
        f"{bus.config.prefix}.evt",
    )
    median = await events_consume.latency(place.url, bus)
    print(f"\nevents: from COMMIT to the handler, idle system: median {median * 1e3:.1f} ms")
    return await events_outbox.comparisons(place, stack)


def main() -> int:
    """Run the suite; the exit status is 1 if a bound was missed."""
    with Stack(["postgres", "nats"], mode="durable") as servers, asyncio.Runner() as runner:
        config = EventsConfig(url=Secret(servers.nats.url), source="/bench")
        stack = AsyncExitStack()

        async def connect() -> tuple[EventBus, Client, NatsBroker]:
            bus = await stack.enter_async_context(EventBus.connect(config))
            await bus.topology.ensure()
            client = await nats.connect(servers.nats.url)
            stack.push_async_callback(client.close)
            broker = NatsBroker(servers.nats.url, logger=None)
            await broker.connect()
            stack.push_async_callback(broker.stop)
            return bus, client, broker

        try:
            bus, client, broker = runner.run(connect())
            compared = publishing(runner, bus, client, broker)
            if "--publish" not in sys.argv:
                compared += runner.run(events_consume.comparisons(runner, bus, client))
                compared += runner.run(outbox(stack, runner, servers, bus, client))
            return report("events", compared)
        finally:
            runner.run(stack.aclose())


if __name__ == "__main__":
    sys.exit(main())
