"""A handler, and an event for it; in memory, or on a server if EXAMPLE_NATS_URL names one."""

import asyncio
import os
from dataclasses import dataclass

from mtenant_config import Secret
from mtenant_events import Event, EventBus, EventsConfig, Subscriptions, event_context, event_type
from mtenant_events.memory import MemoryBus

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
    print(f"{event.tenant}: deal {event.data.deal_id} was won, {event.data.amount} EUR")
    handled.set()


async def talk(bus: EventBus | MemoryBus) -> None:
    """Listen, and say something."""
    bus.include(subs, service="communication")
    with event_context(tenant="acme", actor="user-7"):
        result = await bus.publish(DealClosedWon("d7", 900), key="d7")
    print(f"stored in {result.stream} as number {result.sequence}")
    await handled.wait()


async def main() -> None:
    """Run it."""
    url = os.environ.get("EXAMPLE_NATS_URL")
    if url is None:
        async with MemoryBus() as memory:
            await talk(memory)
        return
    config = EventsConfig(url=Secret(url), source="/deal-service")
    async with EventBus.connect(config) as bus:
        await bus.topology.ensure()
        await talk(bus)


asyncio.run(main())
