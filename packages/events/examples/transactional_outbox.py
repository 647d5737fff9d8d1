"""A change and its event in one transaction: both happen, or neither.

Set EXAMPLE_DATABASE_URL to a database that may be written to: an outbox is installed in its schema
`eventing`. The relay then carries the event to a handler, by way of a stream in memory. Without it the
statement is shown that an outbox would send. It needs `pip install 'mtenant-events[outbox]'`.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from mtenant_events import Event, Subscriptions, event_type
from mtenant_events.memory import MemoryBus
from mtenant_events.outbox import Outbox
from mtenant_events.relay import Relay
from mtenant_events.store.installation import install
from mtenant_events.store.transaction import PsycopgTransaction

subs = Subscriptions()
handled = asyncio.Event()


@event_type("deal.closed_won")
@dataclass(frozen=True)
class DealClosedWon:
    """A deal was won."""

    deal_id: str
    amount: int


@subs.on(DealClosedWon, name="congratulate")
async def congratulate(event: Event[DealClosedWon]) -> None:
    """Be glad about it."""
    print(f"handled: {event.tenant} won {event.data.deal_id}")
    handled.set()


async def carry(url: str, bus: MemoryBus) -> None:
    """Change something and tell of it, in a real transaction."""
    await asyncio.to_thread(install, url)
    bus.include(subs, service="communication")
    async with (
        Relay(url, bus.transport) as relay,
        await AsyncConnection.connect(url, autocommit=True) as conn,
    ):
        outbox = Outbox(bus.config, wake=relay.wake)
        async with conn.transaction():
            await conn.execute("CREATE TEMP TABLE deals AS SELECT 'd7' AS id, 'won' AS stage")
            tx = PsycopgTransaction(conn, tenant="acme")
            await outbox.add(tx, DealClosedWon("d7", 900), key="d7")
        await handled.wait()


class Shown:
    """A transaction that shows what would be sent."""

    tenant: str | None = "acme"

    async def execute(self, query: str, params: Sequence[Any] | None = None, /) -> object:
        """Show it."""
        print(query, params)
        return None

    async def fetch_all(
        self, query: str, params: Sequence[Any] | None = None, /
    ) -> list[tuple[Any, ...]]:
        """Show it."""
        print(query, params)
        return []


async def main() -> None:
    """Run it."""
    async with MemoryBus() as bus:
        if url := os.environ.get("EXAMPLE_DATABASE_URL"):
            await carry(url, bus)
        else:
            await Outbox(bus.config).add(Shown(), DealClosedWon("d7", 900), key="d7")


asyncio.run(main())
