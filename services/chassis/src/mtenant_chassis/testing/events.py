"""What stands in for an outbox and a bus, and keeps the events that it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


class RecordingOutbox:
    """Keeps the events that were added, of transactions that may yet roll back.

    Attributes:
        added: The tenant of the transaction, and the event, in their order.
    """

    def __init__(self) -> None:
        self.added: list[tuple[str | None, Any]] = []

    async def add(self, tx: Any, event: Any, *, key: Any = None, ordered: bool = False) -> Any:
        """Keep an event."""
        self.added.append((tx.tenant, event))
        return event

    async def add_many(
        self, tx: Any, events: Iterable[Any], *, key: Any = None, ordered: bool = False
    ) -> list[Any]:
        """Keep events."""
        return [await self.add(tx, event, key=key, ordered=ordered) for event in events]


@dataclass
class RecordingEvents:
    """Stands in for what carries events: `create_app(..., events=RecordingEvents().open)`.

    Attributes:
        outbox: Keeps what is added.
        forgotten: The tenants whose events were to be deleted.
    """

    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)
    forgotten: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, chassis: object) -> AsyncIterator[RecordingEvents]:
        """Be there."""
        yield self

    async def consume(self) -> None:
        """Do nothing: nothing arrives."""

    async def stop_consuming(self) -> None:
        """Do nothing."""

    async def healthy(self) -> bool:
        """Return True."""
        return True

    async def numbers(self) -> dict[str, int | float]:
        """Return none: nothing waits."""
        return {}

    async def forget(self, tenant: str) -> None:
        """Note whose."""
        self.forgotten.append(tenant)
