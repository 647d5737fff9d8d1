"""What the outbox costs the writers, how fast it empties, and whom a flood of one tenant delays.

The parts of `bench_events.py` that need PostgreSQL, in its durable mode: a commit reaches the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, LiteralString

import psycopg
from harness import Bound, Case, Comparison
from nats.aio.client import Client
from psycopg import AsyncConnection

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, Transaction
from mtenant_errors import AppError
from mtenant_events.abc import Transport
from mtenant_events.config import EventsConfig
from mtenant_events.event import Event, Message, PublishResult
from mtenant_events.outbox import Outbox
from mtenant_events.relay import BATCH, Relay
from mtenant_events.store.installation import install
from mtenant_events.store.transaction import PsycopgTransaction

WRITERS = 32
PUBLISHERS = 64
TENANTS = 100
FLOOD = 30_000
BODY = b"x" * 400
HEADERS = {"Content-Type": "application/cloudevents+json"}

RELAY = "outbox to stream, one relay"
BARE = f"bare js.publish, {PUBLISHERS} at once"
WITH = "change and event"
WITHOUT = "change alone"
UNBOUND = 1000.0

Change = Callable[[Transaction], Awaitable[object]]

_numbers = itertools.count()


@dataclass
class Counting:
    """A transport that counts what it has published, and says when a subject arrives."""

    transport: Transport
    published: int = 0
    arrivals: dict[str, asyncio.Future[int]] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        """Whether the one behind it is."""
        return self.transport.connected

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        """Publish, and count."""
        results = await self.transport.publish_many(messages, window=window)
        for message in messages:
            if (arrival := self.arrivals.pop(message.subject, None)) is not None:
                arrival.set_result(self.published)
        self.published += len(messages)
        return results


@dataclass
class Ground:
    """Where it is measured: servers, and a stream that takes every subject below `prefix`."""

    runner: asyncio.Runner
    superuser: str
    client: Client
    transport: Transport
    config: EventsConfig
    prefix: str

    def __post_init__(self) -> None:
        name = self.name = f"bench_outbox_{next(_numbers)}"
        with psycopg.connect(self.superuser, autocommit=True) as conn:
            conn.execute(f"create role {name} login".encode())
            conn.execute(f"create database {name} owner {name}".encode())
            conn.execute(f"alter database {name} set commit_delay = 2000".encode())
        self.url = psycopg.conninfo.make_conninfo(self.superuser, dbname=name, user=name)
        install(self.url)
        with psycopg.connect(self.url) as conn:
            conn.execute("create schema tenant_acme")
            conn.execute("create table tenant_acme.deals (id bigint, stage text)")

    def subject(self, tenant: str) -> str:
        """Return where its events go."""
        return f"{self.prefix}.{tenant}.deal.won.1"

    def insert(self, tenant: str, count: int) -> tuple[LiteralString, list[Any]]:
        """Return the statement that puts events of a tenant into the outbox, of as many keys."""
        return (
            "insert into eventing.outbox (tenant, key, subject, headers, body)"
            " select %s, n::text, %s, jsonb_build_object('Content-Type',"
            " 'application/cloudevents+json', 'Nats-Msg-Id', gen_random_uuid()), %s"
            " from generate_series(1, %s) n",
            [tenant, self.subject(tenant), BODY, count],
        )

    def fill(self, tenant: str, count: int) -> None:
        """Put events of a tenant into the outbox."""
        with psycopg.connect(self.url) as conn:
            conn.execute(*self.insert(tenant, count))

    async def emptied(self) -> None:
        """Return when nothing waits any more."""
        async with await AsyncConnection.connect(self.url, autocommit=True) as conn:
            await conn.execute("set mtenant.relay = 'on'")
            while (await conn.execute("select from eventing.outbox limit 1")).rowcount:
                await asyncio.sleep(0.005)


def draining(ground: Ground) -> Comparison:
    """Compare emptying the outbox with publishing as much without one."""

    async def relay(n: int) -> None:
        ground.fill("acme", n)
        async with Relay(ground.url, ground.transport):
            await ground.emptied()

    async def bare(n: int) -> None:
        stream, numbers = ground.client.jetstream(), iter(range(n))
        subject = ground.subject("acme")

        async def publisher() -> None:
            for _ in numbers:
                headers = HEADERS | {"Nats-Msg-Id": f"bare-{next(_numbers)}"}
                await stream.publish(subject, BODY, headers=headers)

        await asyncio.gather(*(publisher() for _ in range(PUBLISHERS)))

    return Comparison(
        "events: from the outbox into the stream",
        [_case(ground, RELAY, relay), _case(ground, BARE, bare)],
        [Bound(RELAY, BARE, 1 / 0.4)],
        rounds=9,
        seconds_a_turn=0.3,
    )


async def writing(ground: Ground, stack: AsyncExitStack) -> list[Comparison]:
    """Compare transactions with an event with those without; a relay runs beside both.

    Unpaced, one Python process is the bottleneck, and says what an event costs it. Paced at half of
    that, it says whether events make commits wait.
    """
    relay = await stack.enter_async_context(Relay(ground.url, ground.transport))
    settings = DatabaseConfig(
        url=Secret(ground.url), max_open_conns=WRITERS, max_idle_conns=WRITERS
    )
    db = await stack.enter_async_context(Database(settings))
    acme, outbox = db.tenant("acme"), Outbox(ground.config, wake=relay.wake)

    async def alone(tx: Transaction) -> None:
        await tx.execute("insert into deals values (1, 'won')")

    async def with_event(tx: Transaction) -> None:
        await alone(tx)
        event = Event(type="deal.won", source="/bench", tenant="acme", data={"amount": 5})
        await outbox.add(tx, event, key=next(_numbers) % 1000)

    async def write(n: int, change: Change, rate: float = math.inf) -> None:
        begin, numbers = perf_counter(), iter(range(n))

        async def writer() -> None:
            for number in numbers:
                if (early := begin + number / rate - perf_counter()) > 0:
                    await asyncio.sleep(early)
                async with acme.transaction() as tx:
                    await change(tx)

        await asyncio.gather(*(writer() for _ in range(WRITERS)))

    await write(200, with_event)
    begin = perf_counter()
    await write(1000, with_event)
    pace = 1000 / (perf_counter() - begin) / 2
    return [
        Comparison(
            f"events: {WRITERS} writers, commit_delay 2 ms, {named}",
            [
                _case(ground, WITH, partial(write, change=with_event, rate=rate)),
                _case(ground, WITHOUT, partial(write, change=alone, rate=rate)),
            ],
            [Bound(WITH, WITHOUT, at_most)],
            rounds=9,
            seconds_a_turn=0.4,
        )
        for named, rate, at_most in (
            (f"paced at {pace:.0f} a second", pace, 1 / 0.9),
            ("as fast as one process can (no promise)", math.inf, UNBOUND),
        )
    ]


@dataclass
class Delays(Comparison):
    """What a flood of one tenant does to the others, counted in batches and not in seconds."""

    ground: Ground | None = None

    def run(self) -> bool:
        """Measure, print, and tell whether the bound was met."""
        assert self.ground is not None
        delays = self.ground.runner.run(_delays(self.ground))
        self.ratios = {self.bounds[0]: delays}
        self._print()
        print(f"  the longest of {len(delays)}: {max(delays):.2f} batches")
        return max(delays) <= self.bounds[0].at_most


def fairness(ground: Ground) -> Comparison:
    """Tell by how many batches a tenant's event is delayed while another tenant floods."""
    title = f"events: {TENANTS} tenants, one of them with {FLOOD} events"
    return Delays(title, [], [Bound("the others' delay", "one batch", 3)], ground=ground)


async def _delays(ground: Ground) -> list[float]:
    counting = Counting(ground.transport)
    loop = asyncio.get_running_loop()
    ground.fill("flood", FLOOD)

    async def delay(committed: int, arrival: asyncio.Future[int]) -> float:
        return (await arrival - committed) / BATCH

    async with (
        Relay(ground.url, counting),
        await AsyncConnection.connect(ground.url, autocommit=True) as conn,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for number in range(TENANTS - 1):
            tenant = f"t{number}"
            arrival = counting.arrivals[ground.subject(tenant)] = loop.create_future()
            await conn.execute(*ground.insert(tenant, 1))
            tasks.append(group.create_task(delay(counting.published, arrival)))
            await asyncio.sleep(0.005)
        assert counting.published < FLOOD, "the flood must outlast the measurement"
    return [task.result() for task in tasks]


async def latency(ground: Ground, rounds: int = 50) -> float:
    """Return the median of the seconds from COMMIT until the stream has the event; all is idle."""
    counting, took = Counting(ground.transport), []
    async with (
        Relay(ground.url, counting) as relay,
        await AsyncConnection.connect(ground.url) as conn,
    ):
        outbox, tx = Outbox(ground.config, wake=relay.wake), PsycopgTransaction(conn, tenant="acme")
        for _ in range(rounds):
            await asyncio.sleep(0.02)
            event = Event(type="deal.won", source="/bench", tenant="acme", data={"amount": 5})
            await outbox.add(tx, event)
            sent = counting.published
            await conn.commit()
            begin = perf_counter()
            while counting.published == sent:
                await asyncio.sleep(0)
            took.append(perf_counter() - begin)
    return statistics.median(took)


async def comparisons(ground: Ground, stack: AsyncExitStack) -> list[Comparison]:
    """Return what is to be compared, and print what is only told; `stack` is closed in the end."""
    median = await latency(ground)
    print(f"\nevents: from COMMIT into the stream, idle system: median {median * 1e3:.1f} ms")
    # Each in a database of its own: the relay of one must not empty the outbox of another.
    return [
        draining(ground),
        fairness(replace(ground)),
        *await writing(replace(ground), stack),
    ]


def _case(ground: Ground, name: str, run: Callable[[int], Coroutine[Any, Any, None]]) -> Case:
    return Case(name, lambda n: ground.runner.run(run(n)))
