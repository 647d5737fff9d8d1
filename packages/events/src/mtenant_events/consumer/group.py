"""The consumers of a part of a program, started and stopped together."""

from __future__ import annotations

import asyncio
import secrets

from mtenant_events.consumer.abc import Ground, InboxLike
from mtenant_events.consumer.consumer import Consumer, ConsumerHealth
from mtenant_events.consumer.handling import UnitOfWork
from mtenant_events.inbox import Inbox
from mtenant_events.subscriptions import Subscriptions, check_name


class Group:
    """The consumers of some subscriptions; a bus makes it (`include`), and stops it when it closes.

    Args:
        ground: What they stand on.
        subscriptions: What was declared.
        service: The first part of their names.
        unit_of_work: Begins the transaction of the event's tenant.
        inbox: Notes what was handled, in that transaction.

    Raises:
        ValueError: A handler asks for `tx`, and nothing begins one; the service's name breaks its rule.
    """

    def __init__(
        self,
        ground: Ground,
        subscriptions: Subscriptions,
        *,
        service: str,
        unit_of_work: UnitOfWork | None = None,
        inbox: InboxLike | None = None,
    ) -> None:
        check_name("service", service)
        wanting = [one.name for one in subscriptions if one.wants_tx]
        if wanting and unit_of_work is None:
            raise ValueError(
                f"{', '.join(wanting)} ask for a tx: include them with"
                " unit_of_work=lambda event: db.tenant(event.tenant).transaction()"
            )
        instance = secrets.token_hex(6)
        self.consumers = tuple(
            Consumer(
                subscription,
                ground,
                service=service,
                unit_of_work=unit_of_work,
                inbox=inbox or Inbox(),
                instance=instance,
            )
            for subscription in subscriptions
        )

    def start(self) -> None:
        """Begin to call handlers."""
        for consumer in self.consumers:
            consumer.start()

    async def ready(self) -> None:
        """Return when the consumers exist, and have asked for events."""
        await asyncio.gather(*(consumer.ready() for consumer in self.consumers))

    async def stop(self, grace: float = 20.0) -> None:
        """Take nothing more, wait for handlers, and give back what is in hand; a second time too.

        Args:
            grace: Seconds that handlers have; then they are cancelled, and their events are delivered
                again, here or elsewhere. That is no attempt that failed.
        """
        await asyncio.gather(*(consumer.stop(grace) for consumer in self.consumers))

    def abandon(self) -> None:
        """End at once, and settle nothing, as a killed process does; for tests."""
        for consumer in self.consumers:
            consumer.abandon()

    def health(self) -> list[ConsumerHealth]:
        """Return how each consumer is."""
        return [consumer.health() for consumer in self.consumers]
