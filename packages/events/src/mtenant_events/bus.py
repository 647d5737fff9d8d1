"""The bus: one connection, what is published over it, and who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from nats.aio.client import Client
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import StatusCode, TracerProvider

from mtenant_errors import AppError
from mtenant_events.codec import encode
from mtenant_events.config import EventsConfig
from mtenant_events.connection import Connection
from mtenant_events.context import event_of
from mtenant_events.errors import BusClosed, EventsUnavailable
from mtenant_events.event import Event, Key, PublishResult
from mtenant_events.health import BusHealth, WatchedRelay
from mtenant_events.publisher import WINDOW, JetStreamTransport
from mtenant_events.telemetry import Telemetry
from mtenant_events.topology import Topology

if TYPE_CHECKING:
    from mtenant_events.consumer.group import Group
    from mtenant_events.consumer.pull import NatsGround
    from mtenant_events.subscriptions import Subscriptions

UnitOfWork = Callable[[Event[Any]], AbstractAsyncContextManager[Any]]

GRACE = 20.0
"""Seconds that handlers may take to end when the bus is closed."""


class EventBus:
    """Publishes events, and calls handlers; made by `EventBus.connect`.

    Attributes:
        config: The settings.
        transport: Publishes messages that are encoded already; a `Relay` wants it.
        topology: The streams.
        telemetry: Spans and metrics.
    """

    def __init__(self, config: EventsConfig, connection: Connection, telemetry: Telemetry) -> None:
        self.config = config
        self.telemetry = telemetry
        self.topology = Topology(connection.client, config)
        self.transport = JetStreamTransport(connection, config)
        self._connection = connection
        self._groups: list[Group] = []
        self._ground: NatsGround | None = None
        self._relay: WatchedRelay | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        config: EventsConfig,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> AsyncIterator[Self]:
        """Connect, and close at the end of the block.

        A connection that is lost later is made again, however long it takes. Streams are not made:
        that is `bus.topology.ensure()`, or `mtenant-events streams ensure`.

        Args:
            config: Where, and how to log in.
            tracer_provider: OpenTelemetry's global one by default.
            meter_provider: OpenTelemetry's global one by default.

        Raises:
            EventsUnavailable: No server answered in time, or one refused the login.
            ValueError: A file of the settings cannot be read.
        """
        telemetry = Telemetry(
            config, tracer_provider=tracer_provider, meter_provider=meter_provider
        )
        connection = Connection(config)
        await connection.open()
        bus = cls(config, connection, telemetry)
        try:
            await bus.transport.open()
            yield bus
        finally:
            await bus.close()

    @property
    def client(self) -> Client:
        """The client of nats-py, for what this package does not do; its errors are its own."""
        return self._connection.client

    async def publish(self, event: Any, *, key: Key | None = None) -> PublishResult:
        """Publish an event, and return when the stream has stored it.

        It is for what is no part of a transaction; with one, add it to the `Outbox`. It is sent again at
        most three times, with one id.

        Args:
            event: An `Event`, or a payload of a class with a name: then the tenant, the actor and what
                led to it are the context's.
            key: What it is ordered by: its subject by default, else its id.

        Raises:
            TenantRequired: A payload, where the context has no tenant.
            TenantMismatch: An event of another tenant than the context.
            EventTooLarge: It is larger than the stream takes.
            EventsUnavailable: There was no connection for `publish_timeout`; nothing was sent.
            BusClosed: The bus is closed.
            StreamUnavailable: No stream answers.
            StreamFull: The stream takes nothing new.
            PublishRefused: The stream does not want it.
            PublishUnknown: No acknowledgement came: it may be stored. The same `Event` may be published again.
            TypeError: It is no event and no payload, or its data is no JSON.
            ValueError: Its data is no JSON, or the key is no text of 1 to 512 characters.
        """
        made = event_of(event, source=self.config.source)
        with self.telemetry.publishing(made.type) as span:
            message = encode(made, self.config, key=None if key is None else str(key))
            if span is not None:
                span.set_attributes(
                    {
                        "messaging.destination.name": message.subject,
                        "messaging.message.id": made.id,
                        "mtenant.tenant": made.tenant,
                    }
                )
            result = await self.transport.publish(message)
            if span is not None:
                span.set_attribute("mtenant.stream.sequence", result.sequence)
            return result

    async def publish_many(
        self, events: Iterable[Any], *, window: int = WINDOW
    ) -> list[PublishResult | AppError]:
        """Publish events, in their order, many of them under way at a time; return what became of each.

        One that fails stops no other. Each is sent once: what failed with a `retryable` error may be
        given again.

        Args:
            events: Events and payloads, as for `publish`.
            window: How many may be without an acknowledgement at a time.

        Raises:
            TenantRequired, TenantMismatch, EventTooLarge, TypeError, ValueError: As `publish`, for any
                of them; then none is sent.
        """
        made = [event_of(event, source=self.config.source) for event in events]
        with self.telemetry.publishing(None, len(made)) as span:
            messages = [encode(event, self.config) for event in made]
            with suppress(EventsUnavailable, BusClosed):  # which is then the result of each
                await self._connection.wait(self.config.publish_timeout.total_seconds())
            results = await self.transport.publish_many(messages, window=window)
            if span is not None and any(isinstance(result, AppError) for result in results):
                span.set_status(StatusCode.ERROR)
            return results

    def include(
        self, subscriptions: Subscriptions, *, service: str, unit_of_work: UnitOfWork | None = None
    ) -> Group:
        """Start to call the handlers of some subscriptions.

        Args:
            subscriptions: What was declared.
            service: The first part of the consumers' names: instances of one service share the events.
            unit_of_work: Opens the transaction of a handler that asks for one.

        Returns:
            What runs; `await group.ready()` returns when its consumers exist.

        Raises:
            BusClosed: The bus is closed.
        """
        from mtenant_events.consumer.group import Group  # noqa: PLC0415 - who publishes only, needs none
        from mtenant_events.consumer.pull import NatsGround  # noqa: PLC0415 - the same

        if self._connection.closed:
            self._connection.check()
        if self._ground is None:
            self._ground = NatsGround(
                self._connection.client, self.config, self.transport, self.telemetry
            )
            self._connection.on_return(self._ground.reconnected)
        group = Group(self._ground, subscriptions, service=service, unit_of_work=unit_of_work)
        group.start()
        self._groups.append(group)
        return group

    def watch(self, relay: WatchedRelay) -> None:
        """Have a relay's lag in `health`."""
        self._relay = relay

    def health(self) -> BusHealth:
        """Return how it is doing, without asking anybody."""
        return BusHealth(
            connected=self._connection.connected,
            closed=self._connection.closed,
            heartbeat_age=self._connection.heartbeat_age,
            relay_lag=None if self._relay is None else self._relay.lag,
            relay_running=None if self._relay is None else self._relay.running,
            consumers=tuple(one for group in self._groups for one in group.health()),
            problem=self._connection.problem,
        )

    async def close(self, grace: float = GRACE) -> None:
        """Let handlers end, send what waits, and close. A second call waits for the first.

        Args:
            grace: Seconds that handlers may take; what is not handled then is delivered again.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(grace), name="mtenant-events close")
        # Whoever is cancelled while it waits does not leave a connection half closed.
        await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> None:
        try:
            await asyncio.gather(*(group.stop(grace) for group in self._groups))
        finally:
            await self._connection.close()
