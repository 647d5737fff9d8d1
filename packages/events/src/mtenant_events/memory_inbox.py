"""An inbox in memory, with transactions that hold nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, LiteralString, NoReturn, Self

from mtenant_events.abc import Executor
from mtenant_events.inbox import History


class MemoryTransaction:
    """A transaction of a tenant, without a database: `async with` it.

    Args:
        tenant: Whose it is.
    """

    def __init__(self, tenant: str | None) -> None:
        self._tenant = tenant
        self._on_commit: list[Callable[[], object]] = []
        self._on_end: list[Callable[[], object]] = []

    @property
    def tenant(self) -> str | None:
        """Whose it is."""
        return self._tenant

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Have something done if it commits, and not if an exception leaves it."""
        self._on_commit.append(callback)

    def on_end(self, callback: Callable[[], object]) -> None:
        """Have something done at its end, however that is."""
        self._on_end.append(callback)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for callback in [*(self._on_commit if exc is None else ()), *self._on_end]:
            callback()

    async def execute(
        self, query: LiteralString, params: Sequence[Any] | None = None, /
    ) -> NoReturn:
        """Fail: there is no database.

        Raises:
            TypeError: Always.
        """
        raise TypeError("there is no database behind a MemoryTransaction: use `on_commit`")

    async def fetch_all(
        self, query: LiteralString, params: Sequence[Any] | None = None, /
    ) -> NoReturn:
        """Fail: there is no database.

        Raises:
            TypeError: Always.
        """
        raise TypeError("there is no database behind a MemoryTransaction")


class MemoryInbox:
    """Behaves as `Inbox`, for transactions that it makes."""

    def __init__(self) -> None:
        self._handled: set[tuple[str | None, str, str]] = set()
        self._known: dict[tuple[str | None, str, str], History] = {}
        self._locks: dict[tuple[str | None, str, str], asyncio.Lock] = {}

    def transaction(self, tenant: str | None) -> MemoryTransaction:
        """Return a transaction: `unit_of_work=lambda event: inbox.transaction(event.tenant)`."""
        return MemoryTransaction(tenant)

    async def begin(self, tx: Executor, consumer: str, event_id: str) -> History | None:
        """Note that the event is handled, if this transaction commits; None if it has been.

        Raises:
            TypeError: The transaction is none of this inbox's.
        """
        key = await self._lock(tx, consumer, event_id)
        if key in self._handled:
            return None
        _ours(tx).on_commit(lambda: self._handled.add(key))
        return self._known.get(key, History())

    async def end(
        self, tx: Executor, consumer: str, event_id: str, *, raised: bool
    ) -> History | None:
        """Note that a delivery ended without success; None if the event has been handled.

        Raises:
            TypeError: The transaction is none of this inbox's.
        """
        key = await self._lock(tx, consumer, event_id)
        if key in self._handled:
            return None
        known = self._known.get(key, History())
        new = History(known.attempts + raised, known.known_ends + 1)
        _ours(tx).on_commit(lambda: self._known.update({key: new}))
        return new

    async def _lock(
        self, tx: Executor, consumer: str, event_id: str
    ) -> tuple[str | None, str, str]:
        """Wait until no other transaction has the row, as the one in a database does."""
        transaction, key = _ours(tx), (tx.tenant, consumer, event_id)
        lock = self._locks.setdefault(key, asyncio.Lock())
        await lock.acquire()
        transaction.on_end(lock.release)
        return key


def _ours(tx: Executor) -> MemoryTransaction:
    if not isinstance(tx, MemoryTransaction):
        raise TypeError(f"a MemoryInbox is for its own transactions, not for {type(tx).__name__}")
    return tx
