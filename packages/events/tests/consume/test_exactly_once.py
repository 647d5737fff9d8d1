"""Effects in a real database, through a server that is killed and consumers that are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from mtenant_devstack import Server
from mtenant_errors import GatewayTimeout, ServiceUnavailable
from mtenant_events.codec import encode
from mtenant_events.event import Event, Message
from mtenant_events.store.installation import install
from mtenant_events.store.transaction import PsycopgTransaction
from mtenant_events.subscriptions import Subscriptions


class Database:
    """A database with the schemas of some tenants."""

    def __init__(self, superuser: str, *tenants: str) -> None:
        name = f"once_{uuid4().hex[:12]}"
        with psycopg.connect(superuser, autocommit=True) as conn:
            conn.execute(f"create database {name}".encode())
        self.url = psycopg.conninfo.make_conninfo(superuser, dbname=name)
        with psycopg.connect(self.url, autocommit=True) as conn:
            for tenant in tenants:
                conn.execute(
                    f"create schema tenant_{tenant};"
                    f" create table tenant_{tenant}.effects (event_id text)".encode()
                )
        install(self.url, inboxes=[f"tenant_{tenant}" for tenant in tenants])

    @asynccontextmanager
    async def open(self, connections: int = 8) -> AsyncIterator[None]:
        """Connect: psycopg leaves a connection open whose making is cancelled."""
        async with AsyncExitStack() as stack:
            self._free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
            for _ in range(connections):
                connecting = psycopg.AsyncConnection.connect(self.url, autocommit=True)
                self._free.put_nowait(await stack.enter_async_context(await connecting))
            yield

    @asynccontextmanager
    async def transaction(self, event: Event[Any]) -> AsyncIterator[PsycopgTransaction]:
        """Begin a transaction of the event's tenant."""
        conn = await self._free.get()
        try:
            async with conn.transaction():
                await conn.execute(f"set local search_path to tenant_{event.tenant}".encode())
                yield PsycopgTransaction(conn, tenant=event.tenant)
        finally:
            self._free.put_nowait(conn)

    def rows(self, query: str) -> list[Any]:
        """Return the rows of a query."""
        with psycopg.connect(self.url) as conn:
            return conn.execute(query.encode()).fetchall()


@pytest.fixture
def database(postgres_dsn: str) -> Database:
    return Database(postgres_dsn, "a", "b")


def test_each_event_has_one_effect_though_it_comes_twice_and_servers_die(
    own_nats: Server, place_on: Any, database: Database
) -> None:
    place = place_on(own_nats.url)
    events = [place.event(number, tenant="ab"[number % 2]) for number in range(120)]
    calls: dict[str, int] = {}

    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="h", ack_wait=1.0, first_delay=0.01, concurrency=8)
        async def handle(event: Event[Any], tx: PsycopgTransaction) -> None:
            calls[event.id] = calls.get(event.id, 0) + 1
            await tx.execute("insert into effects values (%s)", [event.id])
            if event.data["deal"] % 10 == 3 and calls[event.id] == 1:
                raise ValueError

        async def publish(message: Message) -> None:
            while True:
                try:
                    await place.bus.transport.publish(message)
                except (GatewayTimeout, ServiceUnavailable):
                    await asyncio.sleep(0.02)
                else:
                    return

        async with database.open(), place.open() as bus:
            group = bus.include(subs, service="svc", unit_of_work=database.transaction)
            for number, event in enumerate(events):
                message = encode(event, place.config)
                await publish(message)
                if number % 3 == 0:  # the same event, beyond what the stream knows again
                    headers = {**message.headers, "Nats-Msg-Id": f"again {number}"}
                    await publish(Message(message.subject, headers, message.body))
                if number == 40:
                    await asyncio.to_thread(own_nats.kill)
                    await asyncio.to_thread(own_nats.start)
                if number == 80:
                    await group.stop(0.0)
                    group = bus.include(subs, service="svc", unit_of_work=database.transaction)
            await place.until(lambda: len(calls) == len(events))
            await place.settled()

    asyncio.run(main())
    for tenant in "ab":
        effects = database.rows(f"select event_id from tenant_{tenant}.effects order by 1")
        wanted = sorted(event.id for event in events if event.tenant == tenant)
        assert [row[0] for row in effects] == wanted


def test_attempts_are_counted_over_processes_and_stops_are_not(
    place: Any, database: Database
) -> None:
    async def main() -> None:
        subs, calls, waiting = Subscriptions(), [], True

        @subs.on("deal.won", name="h", max_attempts=2, first_delay=0.01)
        async def handle(event: Event[Any], tx: Any) -> None:
            calls.append(event)
            if waiting and len(calls) % 2:
                await asyncio.Event().wait()
            raise ValueError

        async with database.open(), place.open() as bus:
            await bus.publish(place.event(tenant="a"))
            for count in (1, 3):
                group = bus.include(subs, service="svc", unit_of_work=database.transaction)
                await place.until(lambda: len(calls) >= count)  # noqa: B023 - awaited here
                await group.stop(0.0)
            waiting = False
            bus.include(subs, service="svc", unit_of_work=database.transaction)
            await place.settled()
            while not await place.dead():
                await asyncio.sleep(0.01)
            (letter,) = await place.dead()
            assert (letter.reason, letter.attempts) == ("attempts_exhausted", 2)

    asyncio.run(main())
    ((attempts, ends),) = database.rows("select attempts, known_ends from tenant_a.event_inbox")
    assert attempts == 2
    assert ends >= 3
