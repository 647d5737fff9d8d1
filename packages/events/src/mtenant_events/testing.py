"""Doubles for the tests of programs: what was published, written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mtenant_errors import AppError
from mtenant_events.codec import encode
from mtenant_events.config import EventsConfig
from mtenant_events.context import event_of
from mtenant_events.event import Event, PublishResult


class RecordingPublisher:
    """Takes what a bus takes, refuses what a bus refuses, and keeps it; nothing is delivered.

    Attributes:
        published: The events, in the order in which they were published.

    >>> import asyncio
    >>> publisher = RecordingPublisher()
    >>> event = Event(type="deal.won", source="/deals", tenant="acme", data={"deal": 7})
    >>> asyncio.run(publisher.publish(event)).sequence
    1
    >>> publisher.only("deal.won", tenant="acme").data
    {'deal': 7}
    """

    def __init__(self, config: EventsConfig | None = None) -> None:
        self.published: list[Event[Any]] = []
        self._config = config or EventsConfig()

    async def publish(self, event: Any, *, key: str | None = None) -> PublishResult:
        """Keep an event.

        Raises:
            TenantRequired, TenantMismatch, EventTooLarge, TypeError, ValueError: As a bus.
        """
        made = event_of(event, source=self._config.source)
        encode(made, self._config, key=key)
        self.published.append(made)
        return PublishResult(self._config.stream, len(self.published), duplicate=False, attempts=1)

    async def publish_many(
        self, events: Iterable[Any], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        """Keep events; none of them, if one is refused."""
        made = [event_of(event, source=self._config.source) for event in events]
        for event in made:
            encode(event, self._config)
        return [await self.publish(event) for event in made]

    def of(self, type_: str, *, tenant: str | None = None) -> list[Event[Any]]:
        """Return the events of a type, and of a tenant if one is named."""
        return [
            event
            for event in self.published
            if event.type == type_ and tenant in {None, event.tenant}
        ]

    def only(self, type_: str, *, tenant: str | None = None) -> Event[Any]:
        """Return the one event of a type.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = self.of(type_, tenant=tenant)
        if len(found) != 1:
            types = ", ".join(event.type for event in self.published) or "nothing"
            raise AssertionError(f"{len(found)} events of {type_} were published; in all: {types}")
        return found[0]
