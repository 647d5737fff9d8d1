"""The inbox: which events a consumer has handled, written in the transaction of what it did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mtenant_events.abc import Executor

_BEGIN: Final = (
    "INSERT INTO event_inbox (consumer, event_id, handled_at) VALUES (%s, %s, now())"
    " ON CONFLICT (consumer, event_id) DO UPDATE SET handled_at = excluded.handled_at"
    " WHERE event_inbox.handled_at IS NULL RETURNING attempts, known_ends"
)
_END: Final = (
    "INSERT INTO event_inbox (consumer, event_id, attempts, known_ends) VALUES (%s, %s, %s, 1)"
    " ON CONFLICT (consumer, event_id) DO UPDATE SET"
    " attempts = event_inbox.attempts + excluded.attempts, known_ends = event_inbox.known_ends + 1"
    " WHERE event_inbox.handled_at IS NULL RETURNING attempts, known_ends"
)
_PURGE: Final = (
    "WITH old AS (SELECT consumer, event_id FROM event_inbox"
    " WHERE received_at < now() - %s ORDER BY received_at LIMIT %s),"
    " gone AS (DELETE FROM event_inbox USING old WHERE event_inbox.consumer = old.consumer"
    " AND event_inbox.event_id = old.event_id RETURNING 1) SELECT count(*) FROM gone"
)
_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the deliveries of an event to a consumer that have ended without success.

    Attributes:
        attempts: How often the handler raised.
        known_ends: How many deliveries ended in a way that was told: by an exception, a `Retry`, a
            graceful stop. The others took the process with them.
    """

    attempts: int = 0
    known_ends: int = 0


class Inbox:
    """Makes a handler's effect happen once: `begin` and the effect are one transaction.

    It is the table `event_inbox`, found by the search path of the transaction: that of the tenant's schema,
    with which it is dumped, moved and dropped.
    """

    async def begin(self, tx: Executor, consumer: str, event_id: str) -> History | None:
        """Note that the event is handled, if this transaction commits.

        A second delivery that is being handled at the same time waits here until the first has ended.

        Args:
            tx: The transaction of the handler.
            consumer: The durable consumer's name.
            event_id: The event's id, which the tenant's schema makes unique.

        Returns:
            What is known of earlier deliveries; None if the event has been handled: do nothing.
        """
        rows = await tx.fetch_all(_BEGIN, [consumer, event_id])
        return History(*rows[0]) if rows else None

    async def end(
        self, tx: Executor, consumer: str, event_id: str, *, raised: bool
    ) -> History | None:
        """Note that a delivery ended without success.

        Args:
            tx: Another transaction: the handler's was rolled back.
            consumer: The durable consumer's name.
            event_id: The event's id.
            raised: Whether the handler raised, which counts as an attempt.

        Returns:
            What is known now; None if another delivery has been handled meanwhile.
        """
        rows = await tx.fetch_all(_END, [consumer, event_id, int(raised)])
        return History(*rows[0]) if rows else None

    async def purge(
        self, begin: Callable[[], AbstractAsyncContextManager[Executor]], older_than: timedelta
    ) -> int:
        """Forget events that were received longer ago, some at a time; return how many.

        Args:
            begin: Begins a transaction of the tenant: `db.tenant("acme").transaction`.
            older_than: More than the stream and the dead letters keep a message; one that comes
                back after that would be handled again.
        """
        gone = 0
        while True:
            async with begin() as tx:
                ((some,),) = await tx.fetch_all(_PURGE, [older_than, _CHUNK])
            gone += int(some)
            if some < _CHUNK:
                return gone
