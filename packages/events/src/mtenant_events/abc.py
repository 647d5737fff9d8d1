"""What this package asks of others: a transaction to write in, a transport to publish with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, Protocol

from mtenant_errors import AppError
from mtenant_events.event import Message, PublishResult


class Executor(Protocol):
    """An open transaction. `mtenant_database.Transaction` is one; so is `store.Transaction` on psycopg.

    One that also has `queue`, with the parameters of `execute`, sends what is queued together with its next
    statement or its commit, at the latest; an event is then added without a round trip.
    """

    @property
    def tenant(self) -> str | None:
        """Whose transaction it is; None if it is of no tenant."""

    async def execute(self, query: LiteralString, params: Sequence[Any] | None = None, /) -> object:
        """Run a statement."""

    async def fetch_all(
        self, query: LiteralString, params: Sequence[Any] | None = None, /
    ) -> list[tuple[Any, ...]]:
        """Run a query; return its rows."""


class Wake(Protocol):
    """Hears that an event was added to the outbox: a relay's `wake`, or a notifier's."""

    def __call__(self, *, committed: bool = False) -> object:
        """Take the hint.

        Args:
            committed: Whether the event can be seen now; otherwise its transaction is still open.
        """


class BatchTransport(Protocol):
    """Publishes many messages that are encoded already: what a relay asks for."""

    @property
    def connected(self) -> bool:
        """Whether a message would be sent now."""

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        """Publish messages, each of them once; return what became of each, in their order.

        One that fails stops no other. When the connection is lost, those without an
        acknowledgement fail at once.

        Args:
            messages: What to publish. They are sent in this order.
            window: How many may be without an acknowledgement at a time.
        """


class Transport(BatchTransport, Protocol):
    """Publishes messages that are encoded already: events, rows of an outbox, dead letters."""

    async def publish(self, message: Message) -> PublishResult:
        """Publish a message, and return when the stream has stored it.

        It is sent at most four times, with the same headers, so the same `Nats-Msg-Id`.

        Raises:
            AppError: One of this package's, such as `EventsUnavailable` or `PublishUnknown`.
        """
