"""What consuming costs beside a bare `fetch` and acknowledgement of nats-py.

A part of `bench_events.py`. Both read the same stream, which is full before anything is timed, by a new
durable consumer in each turn; ours decodes each event into its class and calls a handler that does nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from harness import Bound, Case, Comparison
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from psycopg import AsyncConnection

from mtenant_errors import AppError
from mtenant_events import Event, EventBus, event_type
from mtenant_events.outbox import Outbox
from mtenant_events.relay import Relay
from mtenant_events.store.transaction import PsycopgTransaction
from mtenant_events.subscriptions import Subscriptions

EVENTS = 30_000
BATCH = 500

OURS = "handler of a Subscription"
PLAIN = "handler of a Subscription, data as it is"
ORDERED = "handler of a Subscription, ordered by key"
BARE = f"fetch({BATCH}) and ack"
UNBOUND = 1000.0

_numbers = itertools.count()


@event_type("deal.opened")
@dataclass(frozen=True, slots=True)
class DealOpened:
    """The payload."""

    deal_id: str
    amount: int
    currency: str


async def fill(bus: EventBus) -> None:
    """Put the events into the stream that all cases read."""
    events = [
        Event(
            type="deal.opened",
            source="/bench",
            tenant=f"tenant{number % 10}",
            data=DealOpened(f"deal-{number}", 90_000, "EUR"),
            subject=f"deal-{number % 100}",
            actor="user-7",
        )
        for number in range(EVENTS)
    ]
    results = await bus.publish_many(events)
    assert not any(isinstance(result, AppError) for result in results)


async def ours(bus: EventBus, payload: type[Any] | str, n: int, **options: Any) -> None:
    """Handle `n` events."""
    subscriptions, done, seen = Subscriptions(), asyncio.Event(), 0

    @subscriptions.on(payload, name="bench", **options)
    async def handle(event: Event[Any]) -> None:
        nonlocal seen
        seen += 1
        if seen == n:
            done.set()

    group = bus.include(subscriptions, service=f"bench{next(_numbers)}")
    await done.wait()
    await group.stop(0)


async def bare(client: Client, stream: str, subject: str, n: int) -> None:
    """Fetch and acknowledge `n` messages."""
    js, name = client.jetstream(), f"bare{next(_numbers)}"
    await js.add_consumer(
        stream,
        ConsumerConfig(
            name=name,
            durable_name=name,
            ack_policy=AckPolicy.EXPLICIT,
            max_ack_pending=2 * BATCH,
            filter_subject=subject,
        ),
    )
    subscription = await js.pull_subscribe_bind(name, stream=stream)
    left = n
    while left:
        messages = await subscription.fetch(min(BATCH, left))
        for message in messages:
            await message.ack()
        left -= len(messages)
    await subscription.unsubscribe()


async def latency(url: str, bus: EventBus, rounds: int = 60) -> float:
    """Return the median of the seconds from COMMIT to the handler, while all is idle.

    Args:
        url: A database with an outbox.
        bus: With its streams.
        rounds: How often.
    """
    took, handled = [], asyncio.Event()
    subscriptions = Subscriptions()

    @subscriptions.on(DealOpened, name="latency", deliver="new")
    async def handle(event: Event[DealOpened]) -> None:
        handled.set()

    group = bus.include(subscriptions, service="bench")
    await group.ready()
    async with (
        Relay(url, bus.transport) as relay,
        await AsyncConnection.connect(url) as conn,
    ):
        outbox, tx = Outbox(bus.config, wake=relay.wake), PsycopgTransaction(conn, tenant="acme")
        for _ in range(rounds):
            await asyncio.sleep(0.02)
            handled.clear()
            await outbox.add(tx, DealOpened("deal-1", 5, "EUR"))
            await conn.commit()
            begin = perf_counter()
            await handled.wait()
            took.append(perf_counter() - begin)
    await group.stop(1.0)
    return statistics.median(took)


async def comparisons(runner: asyncio.Runner, bus: EventBus, client: Client) -> list[Comparison]:
    """Return what is to be compared; the bus has its streams, and the client is another connection."""
    await fill(bus)
    subject = f"{bus.config.prefix}.evt.*.deal.opened.*"

    def case(name: str, run: Callable[[int], Coroutine[Any, Any, None]]) -> Case:
        def turn(n: int) -> None:
            for start in range(0, n, EVENTS):
                runner.run(run(min(EVENTS, n - start)))
            runner.run(forget())

        return Case(name, turn)

    async def forget() -> None:
        for info in await client.jsm().consumers_info(bus.config.stream):
            with suppress(Exception):
                await client.jsm().delete_consumer(bus.config.stream, info.name)

    return [
        Comparison(
            "events: consume and acknowledge, with an empty handler",
            [
                case(OURS, lambda n: ours(bus, DealOpened, n, concurrency=256)),
                case(PLAIN, lambda n: ours(bus, "deal.opened", n, concurrency=256)),
                case(ORDERED, lambda n: ours(bus, DealOpened, n, ordering="key")),
                case(BARE, lambda n: bare(client, bus.config.stream, subject, n)),
            ],
            [Bound(OURS, BARE, 1.0), Bound(PLAIN, BARE, 1.0), Bound(ORDERED, BARE, UNBOUND)],
            rounds=9,
            seconds_a_turn=0.35,
        )
    ]
