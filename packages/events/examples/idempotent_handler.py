"""A handler whose effect happens once, though its event comes again and again.

The inbox's row and the effect are in one transaction. Here both are in memory; with mtenant-database it is
`unit_of_work=lambda event: db.tenant(event.tenant).transaction()`, and nothing else changes.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

from mtenant_events import Event, Subscriptions, event_type
from mtenant_events.memory import MemoryBus, MemoryInbox, MemoryTransaction

subs = Subscriptions()
balance = Counter[str]()
calls: list[str] = []


@event_type("invoice.paid")
@dataclass(frozen=True)
class InvoicePaid:
    """An invoice was paid."""

    amount: int


@subs.on(InvoicePaid, name="book", first_delay=1.0)
async def book(event: Event[InvoicePaid], tx: MemoryTransaction) -> None:
    """Book the amount; the first time something goes wrong after that."""
    calls.append(event.id)
    tx.on_commit(lambda: balance.update({event.tenant: event.data.amount}))
    if len(calls) == 1:
        raise ConnectionError("the mail server does not answer")


async def main() -> None:
    """Lose acknowledgements, and count."""
    inbox = MemoryInbox()
    async with MemoryBus(inbox=inbox) as bus:
        bus.include(
            subs, service="billing", unit_of_work=lambda event: inbox.transaction(event.tenant)
        )
        bus.drop_acks(3)
        await bus.publish(
            Event(type="invoice.paid", source="/shop", tenant="acme", data=InvoicePaid(100))
        )
        await bus.settle()
        print(f"called {len(calls)} times in {bus.clock.now():.0f} s of virtual time")
    print(f"balance: {balance['acme']}")
    assert balance["acme"] == 100


asyncio.run(main())
