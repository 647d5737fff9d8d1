"""What the chassis asks of whoever carries events, so that services and tests need not know who it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from mtenant_chassis.chassis import Chassis


class Outbox(Protocol):
    """Adds events to transactions; see `mtenant_events.Outbox`."""

    async def add(self, tx: Any, event: Any, *, key: Any = None, ordered: bool = False) -> Any:
        """Add an event, published once the transaction has committed."""
        ...

    async def add_many(
        self, tx: Any, events: Iterable[Any], *, key: Any = None, ordered: bool = False
    ) -> list[Any]:
        """Add events in one statement, in their order."""
        ...


class Events(Protocol):
    """The events of a running app: the outbox, and whether what carries them is well."""

    @property
    def outbox(self) -> Outbox:
        """Where a transaction's events are added."""
        ...

    async def consume(self) -> None:
        """Begin to hand events to the service's subscriptions."""
        ...

    async def stop_consuming(self) -> None:
        """Hand over no more of them, and return when those that are being handled are."""
        ...

    async def healthy(self) -> bool:
        """Tell whether events travel at the moment; they wait in the outbox while they do not."""
        ...

    async def numbers(self) -> dict[str, int | float]:
        """Count what waits and what was given up, for `/metrics`; what cannot be counted is left out."""
        ...

    async def forget(self, tenant: str) -> None:
        """Delete what has been published of a tenant for good, read or not.

        Raises:
            AppError: It cannot be done now.
        """
        ...


EventsOf: TypeAlias = "Callable[[Chassis], AbstractAsyncContextManager[Events]]"
"""Opens the events of an app, once its database is open."""
