"""Events by NATS: the outbox of an app, the relay that empties it, the consumers of a service.

```python
subs = Subscriptions()

@subs.on(ContactCreated, name="count_contacts")
async def count_contacts(event: Event[ContactCreated], tx: Transaction) -> None: ...

app = create_app(settings, routers=[...], events=nats_events(subs))
```

Handlers that need the app's parts are declared by a function, `nats_events(subscriptions_of)`, that is
given the chassis. A handler's `tx` is a transaction of the event's tenant.

NATS may be away, at the start too: writes work, their events wait in the outbox, `/health` says so, and
`/ready` does not care.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from mtenant_chassis.events import EventsOf
from mtenant_database import Transaction
from mtenant_errors import AppError
from mtenant_events import (
    Event,
    EventBus,
    EventsConfig,
    EventsUnavailable,
    Outbox,
    Subscriptions,
)
from mtenant_events.consumer.group import Group
from mtenant_events.relay import Relay
from mtenant_logger import get_logger, log_context

if TYPE_CHECKING:
    from mtenant_chassis.chassis import Chassis

PAUSE: Final = 2.0
"""Seconds between two attempts to begin with a NATS or a database that is away."""

_LOOK: Final = 1.0  # seconds between two looks at whether bus and relay are still alive

SubscriptionsOf = Callable[["Chassis"], Subscriptions]

log = get_logger(__name__)


def nats_events(
    subscriptions: Subscriptions | SubscriptionsOf | None = None,
    *,
    config: EventsConfig | None = None,
) -> EventsOf:
    """Return what `create_app(events=...)` opens.

    Args:
        subscriptions: The service's handlers, or a function that declares them, given the chassis.
        config: How NATS is used; by default what `NATS_URL` says, and the rest as it is.
    """

    @asynccontextmanager
    async def opened(chassis: Chassis) -> AsyncIterator[NatsEvents]:
        handlers = subscriptions(chassis) if callable(subscriptions) else subscriptions
        async with NatsEvents(chassis, handlers or Subscriptions(), config) as events:
            yield events

    return opened


class NatsEvents:
    """The events of a running app; `async with` it.

    Args:
        chassis: With an open database.
        subscriptions: The service's handlers.
        config: How NATS is used; None: by `NATS_URL` of the settings, or not at all.

    Attributes:
        outbox: Adds events to transactions.
    """

    def __init__(
        self, chassis: Chassis, subscriptions: Subscriptions, config: EventsConfig | None
    ) -> None:
        settings = chassis.settings
        url, source = settings.nats_url, f"/{settings.service}"
        if config is None and url is not None:
            config = EventsConfig(url=url, source=source)
        self._config = config
        self._chassis = chassis
        self._subscriptions = subscriptions
        self._stopping = asyncio.Event()
        self._consuming = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bus: EventBus | None = None
        self._relay: Relay | None = None
        self._group: Group | None = None
        self.outbox = Outbox(config or EventsConfig(source=source), wake=self._wake)

    async def __aenter__(self) -> Self:
        if self._config is None:
            log.warning("NATS_URL is not set: events wait in the outbox")
            return self
        self._task = asyncio.create_task(self._run(self._config), name="mtenant-chassis events")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop consumers and relay, and close the connection."""
        self._stopping.set()
        self._changed.set()
        task, self._task = self._task, None
        if task is None:
            return
        if self._bus is None:
            task.cancel()  # it waits for a server that is away
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()

    async def consume(self) -> None:
        """Begin to call the handlers, now or as soon as NATS is there."""
        self._consuming = True
        self._changed.set()

    async def stop_consuming(self) -> None:
        """Take no more events, and wait for the handlers as long as for requests."""
        self._consuming = False
        if self._group is not None:
            await self._group.stop(self._chassis.settings.shutdown_timeout.total_seconds())

    async def healthy(self) -> bool:
        """Tell whether events travel now; True where nobody wants them to."""
        if self._config is None:
            return True
        return self._bus is not None and self._bus.health().healthy

    async def numbers(self) -> dict[str, int | float]:
        """Count what waits in the outbox, and the dead letters; of a server that is away nothing is told.

        Every service that shares database and streams counts the same.
        """
        found: dict[str, int | float] = {}
        with suppress(AppError):
            async with self._chassis.database.shared().transaction(read_only=True) as tx:
                waiting = await self.outbox.status(tx)
            found["events_outbox_pending"] = waiting.pending
            found["events_outbox_failing"] = waiting.failed
            found["events_outbox_oldest_age_seconds"] = waiting.oldest_age
        if self._config is not None and self._bus is not None and self._bus.health().connected:
            with suppress(AppError):
                streams = {one.name: one for one in await self._bus.topology.status()}
                letters = streams[self._config.dead_letter_stream]
                found["events_dead_letters"] = letters.messages
        return found

    async def forget(self, tenant: str) -> None:
        """Delete a tenant's events and dead letters from the streams.

        Raises:
            EventsUnavailable: NATS is away.
        """
        if self._config is None:
            return
        if self._bus is None:
            raise EventsUnavailable(internal="no connection to NATS")
        await self._bus.topology.purge(tenant)

    def _wake(self, *, committed: bool = False) -> None:
        if self._relay is not None:
            self._relay.wake(committed=committed)

    async def _run(self, config: EventsConfig) -> None:
        while not self._stopping.is_set():
            try:
                await self._serve(config)
            except AppError as exc:
                told = exc.internal or exc.message
                log.warning("events wait in the outbox", code=exc.code, why=told)
            except Exception:
                log.exception("events wait in the outbox")
            await self._pause(PAUSE)

    async def _serve(self, config: EventsConfig) -> None:
        """Work until it is to end, or the connection or the relay has ended."""
        database = self._chassis.settings.database
        async with EventBus.connect(config) as bus:
            await _make_streams(bus)
            direct = database.pooler != "transaction"
            async with Relay(database.conninfo(), bus.transport, listen=direct) as relay:
                bus.watch(relay)
                self._bus, self._relay = bus, relay
                try:
                    while not self._stopping.is_set() and _alive(bus, relay):
                        self._include(bus)
                        await self._pause(_LOOK)
                finally:
                    self._bus = self._relay = self._group = None

    def _include(self, bus: EventBus) -> None:
        if self._consuming and self._group is None and len(self._subscriptions):
            component = self._chassis.settings.component
            self._group = bus.include(
                self._subscriptions, service=component, unit_of_work=self._unit_of_work
            )

    @asynccontextmanager
    async def _unit_of_work(self, event: Event[Any]) -> AsyncIterator[Transaction]:
        told = {"tenant_id": event.tenant, "request_id": event.correlation_id}
        with log_context(service=self._chassis.settings.service, **told):
            async with self._chassis.tenant(event.tenant).transaction() as tx:
                yield tx

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._stopping.is_set() else seconds):
                await self._changed.wait()
                self._changed.clear()


async def _make_streams(bus: EventBus) -> None:
    # Those that are there stay as an operator has set them: `mtenant-events streams ensure` changes them.
    if not all(stream.exists for stream in await bus.topology.status()):
        await bus.topology.ensure()


def _alive(bus: EventBus, relay: Relay) -> bool:
    return relay.running and not bus.health().closed
