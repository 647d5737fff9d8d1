"""What consumers stand on: NATS, or memory. A clock, a place to get deliveries from, a delivery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from mtenant_events.abc import Executor, Transport
from mtenant_events.config import EventsConfig
from mtenant_events.inbox import History
from mtenant_events.telemetry import Telemetry


class Clock(Protocol):
    """Time, which in memory is virtual."""

    def now(self) -> float:
        """Return seconds since some moment."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class Delivery(Protocol):
    """A message that was delivered to a consumer, until it is settled by `ack`, `nak` or `term`."""

    @property
    def subject(self) -> str:
        """What it was published to."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""

    @property
    def body(self) -> bytes:
        """Its payload."""

    @property
    def sequence(self) -> int:
        """Its place in the stream."""

    @property
    def count(self) -> int:
        """How often it has been delivered to this consumer, this time included."""

    async def ack(self) -> None:
        """It is handled."""

    async def nak(self, delay: float) -> None:
        """Deliver it again after `delay` seconds."""

    async def term(self, reason: str) -> None:
        """Never deliver it again."""

    async def in_progress(self) -> None:
        """It is being handled: begin its `ack_wait` anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """A consumer as the stream keeps it.

    Attributes:
        name: Its name in the stream.
        subjects: What it takes.
        ack_wait: Seconds until a message that nobody has settled is delivered again.
        max_ack_pending: How many messages may be delivered and not settled.
        deliver: Where a new one begins: at the oldest message, or at the next that comes.
        was: The consumer whose place it takes, if that is there.
        ephemeral: Whether it goes when its process does.
    """

    name: str
    subjects: tuple[str, ...]
    ack_wait: float
    max_ack_pending: int
    deliver: Literal["all", "new"]
    was: str | None = None
    ephemeral: bool = False


class Source(Protocol):
    """Deliveries of one consumer, as they come."""

    @property
    def heartbeat_age(self) -> float:
        """Seconds since anything was heard of the consumer."""

    @property
    def ready(self) -> bool:
        """Whether the consumer is there and has been asked for messages."""

    async def until_ready(self) -> None:
        """Return when it is `ready`."""

    async def stop(self) -> None:
        """Ask for nothing more; what comes until this returns is still handed over."""


class Ground(Protocol):
    """What consumers stand on."""

    @property
    def config(self) -> EventsConfig:
        """The settings of the bus."""

    @property
    def transport(self) -> Transport:
        """Publishes the dead letters."""

    @property
    def telemetry(self) -> Telemetry:
        """Spans and metrics of the bus."""

    @property
    def clock(self) -> Clock:
        """Its time."""

    def open(self, spec: ConsumerSpec, window: int, receive: Callable[[Delivery], None]) -> Source:
        """Make the consumer if it is not there, hand over what comes, and heal what breaks.

        Args:
            spec: The consumer.
            window: How many deliveries may be asked for or in hand at a time.
            receive: Called with each delivery; it does not wait.
        """


class InboxLike(Protocol):
    """An inbox: `inbox.Inbox`, or the one in memory. See there."""

    async def begin(self, tx: Executor, consumer: str, event_id: str) -> History | None:
        """Note that the event is handled, if this transaction commits; None if it has been."""

    async def end(
        self, tx: Executor, consumer: str, event_id: str, *, raised: bool
    ) -> History | None:
        """Note that a delivery ended without success."""
