"""The outbox: an event is written in the transaction of the change that it tells of."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final, LiteralString

from mtenant_events.abc import Executor, Wake
from mtenant_events.codec import encode
from mtenant_events.config import EventsConfig
from mtenant_events.context import event_of
from mtenant_events.event import Event, Key
from mtenant_events.store.errors import TransactionRequired
from mtenant_events.store.status import RELAY, STATUS, OutboxStatus

_Row = tuple[str, str, str, str, bytes]
_LONGEST_KEY: Final = 512  # bytes; it has to fit into an index
_ADD: Final = (
    "INSERT INTO eventing.outbox (tenant, key, subject, headers, body) VALUES (%s, %s, %s, %s, %s)"
)
_ADD_MANY: Final = (
    "INSERT INTO eventing.outbox (tenant, key, subject, headers, body)"
    " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]::jsonb[], %s::bytea[])"
)
# One after the other as they are sorted: two writers that want the same keys cannot each have one
# and wait for the other.
_LOCK: Final = "SELECT pg_advisory_xact_lock(lock) FROM unnest(%s::bigint[]) AS lock"


class Outbox:
    """Adds events to the caller's transaction; a `Relay` publishes them once it has committed.

    It holds no connection and does no I/O of its own.

    Args:
        config: Source, subjects and the largest event.
        wake: Called when an event was added, after the commit where the transaction has `on_commit`: the
            `wake` of this process's `Relay`, or of a `Notifier`. Without it relays find the event by
            themselves within a second.
    """

    def __init__(self, config: EventsConfig, *, wake: Wake | None = None) -> None:
        self._config = config
        self._wake = wake

    async def add(
        self, tx: Executor, event: Any, *, key: Key | None = None, ordered: bool = False
    ) -> Event[Any]:
        """Add an event.

        Args:
            tx: The open transaction of the change.
            event: A payload of a registered class, or an `Event`.
            key: Events of one tenant and key reach the stream in the order in which they were added;
                by default the event's subject, else its id.
            ordered: Whether that holds across writers too: two transactions that add to one key at
                the same time, and neither holds a lock on the row that they change. The second waits
                here until the first has ended.

        Returns:
            The event, with its id.

        Raises:
            TransactionRequired: `tx` is no open transaction.
            TenantMismatch: The event is of another tenant than the transaction or the context.
            TenantRequired: Neither the transaction nor the context is of a tenant, and `event` is a
                payload.
            EventTooLarge: It is larger than the stream takes.
        """
        # Not by way of `add_many`: most transactions add one, and lists of one cost more than it does.
        added, row = self._row(event, _tenant_of(tx), key)
        if ordered:
            await tx.execute(_LOCK, [[_lock(row)]])
        await _send(tx)(_ADD, row)
        self._hint(tx)
        return added

    async def add_many(
        self, tx: Executor, events: Iterable[Any], *, key: Key | None = None, ordered: bool = False
    ) -> list[Event[Any]]:
        """Add events in one statement, in their order; for the rest as `add`, with one key for all."""
        tenant = _tenant_of(tx)
        pairs = [self._row(event, tenant, key) for event in events]
        if not pairs:
            return []
        added, rows = [one for one, _ in pairs], [row for _, row in pairs]
        if ordered:
            # Before the ids are drawn, in a statement of its own: whoever waits draws a later one.
            await tx.execute(_LOCK, [sorted({_lock(row) for row in rows})])
        await _send(tx)(_ADD_MANY, [list(column) for column in zip(*rows, strict=True)])
        self._hint(tx)
        return added

    async def status(self, tx: Executor) -> OutboxStatus:
        """Count what waits, of all tenants. It reads every row.

        Args:
            tx: An open transaction, which sees every tenant's rows from then on: best one of no tenant.

        Raises:
            TransactionRequired: `tx` is no open transaction.
        """
        _tenant_of(tx)
        await tx.execute(RELAY)
        (row,) = await tx.fetch_all(STATUS)
        return OutboxStatus(*row)

    def _row(self, event: Any, tenant: str | None, key: Key | None) -> tuple[Event[Any], _Row]:
        made = event_of(event, source=self._config.source, tenant=tenant)
        by = _key_of(made) if key is None else _check_key(str(key))
        message = encode(made, self._config, key=by)
        return made, (made.tenant, by, message.subject, json.dumps(message.headers), message.body)

    def _hint(self, tx: Executor) -> None:
        if self._wake is None:
            return
        on_commit = getattr(tx, "on_commit", None)
        if on_commit is None:
            self._wake()
        else:
            # With each event, not once: what was registered in a savepoint goes with it.
            on_commit(partial(self._wake, committed=True))


def _send(tx: Executor) -> Callable[[LiteralString, Sequence[Any]], Awaitable[object]]:
    # With the next statement or COMMIT, where the transaction can do that.
    return getattr(tx, "queue", tx.execute)


def _tenant_of(tx: Executor) -> str | None:
    # A handle or a pool executes too, each statement in a transaction of its own; neither is of a tenant.
    tenant: object = getattr(tx, "tenant", tx)
    if tenant is None or isinstance(tenant, str):
        return tenant
    raise TransactionRequired(
        internal=f"{type(tx).__name__} is no transaction: pass the `tx` of"
        " `async with handle.transaction() as tx`"
    )


def _key_of(event: Event[Any]) -> str:
    # A subject that is no key is a text for people: such events have an order of their own, none.
    subject = event.subject or event.id
    return subject if len(subject.encode()) <= _LONGEST_KEY else event.id


def _check_key(key: str) -> str:
    if not 0 < len(key.encode()) <= _LONGEST_KEY or "\0" in key:
        raise ValueError(f"a key is 1 to {_LONGEST_KEY} bytes, and none of them is NUL")
    return key


def _lock(row: _Row) -> int:
    tenant, key, *_ = row
    digest = blake2b(f"mtenant-events\0{tenant}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
