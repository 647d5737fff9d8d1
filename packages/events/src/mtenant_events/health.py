"""How a bus is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class ConsumerHealth(Protocol):
    """How a consumer is doing; `consumer.group` makes them."""

    @property
    def name(self) -> str:
        """Its durable name."""

    @property
    def healthy(self) -> bool:
        """Whether it is at work."""


class WatchedRelay(Protocol):
    """What a bus asks of a relay; `relay.Relay` is one."""

    lag: float

    @property
    def running(self) -> bool:
        """Whether it is at work."""


@dataclass(frozen=True)
class BusHealth:
    """How a bus is doing.

    Attributes:
        connected: Whether what is published now goes out.
        closed: Whether it is closed for ever; only a new one helps, so a supervisor may restart the
            program.
        heartbeat_age: Seconds since the server was heard last.
        relay_lag: Seconds that the oldest event in the outbox has waited; None without a relay.
        relay_running: Whether the relay is at work; None without one.
        consumers: How each consumer is doing.
        problem: What the connection complained of last: one line without passwords.
    """

    connected: bool
    closed: bool
    heartbeat_age: float
    relay_lag: float | None = None
    relay_running: bool | None = None
    consumers: tuple[ConsumerHealth, ...] = ()
    problem: str = ""

    @property
    def healthy(self) -> bool:
        """Whether everything is at work. The age of the relay's oldest event is for the caller to judge."""
        return (
            self.connected
            and self.relay_running is not False
            and all(consumer.healthy for consumer in self.consumers)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it for a health endpoint."""
        status: dict[str, Any] = {
            "healthy": self.healthy,
            "connected": self.connected,
            "closed": self.closed,
            "heartbeat_age": round(self.heartbeat_age, 3),
            "consumers": {consumer.name: consumer.healthy for consumer in self.consumers},
        }
        if self.relay_lag is not None:
            status["relay_lag"] = round(self.relay_lag, 3)
        if not self.connected:
            status["error"] = self.problem
        return status
