"""The relay's side of the outbox: batches of rows, on a connection of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from psycopg import AsyncConnection, AsyncCursor, Notify

from mtenant_events.store import statements
from mtenant_events.store.fault import translated
from mtenant_events.store.row import Batch, Failure, Row
from mtenant_events.store.status import RELAY, STATUS, OutboxStatus

_ROW: Final = 8  # columns of a row; the next tells whether its tenant has used up its share


class OutboxQueue:
    """The rows that wait; `async with` it.

    A batch is a transaction. It holds the lock of each shard that it takes rows of, so that they are
    one relay's at a time, and a relay that dies lets go of them. Everything is said inside of
    transactions, but for LISTEN.

    Args:
        conninfo: A URL or a connection string.
        listen: Whether to be woken by other processes. False behind a pooler that gives each
            transaction another connection.
    """

    def __init__(self, conninfo: str, *, listen: bool) -> None:
        self._conninfo = conninfo
        self._listen = listen
        self._conn: AsyncConnection[Any] | None = None
        self._first = random.randrange(statements.SHARDS)  # noqa: S311 - no secret

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            OutboxUnavailable: There is no connection.
            OutboxNotInstalled: There is no outbox, or the role may not use it.
        """
        async with translated():
            # Nothing is prepared: the next transaction may have another server's connection.
            self._conn = await AsyncConnection.connect(
                self._conninfo, autocommit=True, prepare_threshold=None
            )
            try:
                await self._conn.execute("SELECT FROM eventing.outbox LIMIT 0")
                if self._listen:
                    self._conn.add_notify_handler(_forget)
                    await self._conn.execute(f"LISTEN {statements.CHANNEL}")
            except BaseException:
                await self._conn.close()
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; a batch that is open is given back."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    async def take(self, size: int) -> Batch:
        """Begin a batch, and return its rows; without any, it has ended already.

        Raises:
            OutboxUnavailable: The connection is lost.
        """
        largest = statements.MOST_BYTES
        async with translated():
            cursor = await self._connected.execute(statements.take(size, self._first, largest))
            cursor.nextset()  # BEGIN
            cursor.nextset()  # the settings
            claimed = await _only(cursor)
            cursor.nextset()
            found = await cursor.fetchall()
            if not found:
                await self._connected.execute("ROLLBACK")
        _, unclaimed, last, lag = claimed
        if last is not None:
            self._first = (last + 1) % statements.SHARDS
        rows = tuple(Row(*columns[:_ROW]) for columns in found)
        full = len(rows) == size or sum(len(row.body) for row in rows) >= largest
        more = unclaimed or full or any(columns[_ROW] for columns in found)
        return Batch(rows, more, lag)

    async def finish(self, sent: Iterable[Row], failed: Iterable[Failure]) -> None:
        """End the batch: delete what was published, delay what failed; the rest waits as before.

        Raises:
            OutboxUnavailable: The connection is lost. The rows are still there.
        """
        async with translated():
            await self._connected.execute(statements.finish(sent, failed))

    async def status(self) -> OutboxStatus:
        """Count what waits. It reads every row.

        Raises:
            OutboxUnavailable: The connection is lost.
        """
        async with translated(), self._connected.transaction():
            await self._connected.execute(RELAY)
            return OutboxStatus(*await _only(await self._connected.execute(STATUS)))

    @contextmanager
    def listening(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake` when the idle connection hears something: a notification, or its end."""
        loop, descriptor = asyncio.get_running_loop(), self._connected.fileno()

        def heard() -> None:
            # Once: it stays readable until the next statement reads it.
            loop.remove_reader(descriptor)
            wake()

        loop.add_reader(descriptor, heard)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)

    @property
    def _connected(self) -> AsyncConnection[Any]:
        if self._conn is None:
            raise RuntimeError("the outbox's queue is not open: use it in its `async with` block")
        return self._conn


async def _only(cursor: AsyncCursor[Any]) -> Any:
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 -- for mypy: an aggregate has a row
    return row


def _forget(notification: Notify) -> None:
    # With a handler psycopg keeps no list of them; that there was one is all there is to know.
    pass
