"""The notifier: wakes the relays of other processes."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection

from mtenant_events.store.statements import CHANNEL

INTERVAL: Final = 0.005
"""Seconds between two notifications at least, however many events are added.

One in each transaction would make their commits wait for each other: PostgreSQL takes a lock of the
whole server for a commit that notifies.
"""

_LONGEST_PAUSE: Final = 10.0

logger = logging.getLogger(__name__)


class Notifier:
    """Wakes relays that run elsewhere; for a process that adds events and has no relay. `async with` it.

    It is a hint and no more: where it fails, relays find the events by themselves within a second.

    Args:
        conninfo: A URL or a connection string. It has a connection of its own, made when first needed.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        self._task = asyncio.create_task(self._run(), name="mtenant-events notifier")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; what was to be told is found by polling."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def wake(self, *, committed: bool = False) -> None:
        """Say that an event was added."""
        self._wanted.set()

    async def _run(self) -> None:
        pause = INTERVAL
        while True:
            await self._wanted.wait()
            try:
                async with await AsyncConnection.connect(
                    self._conninfo, autocommit=True, prepare_threshold=None
                ) as conn:
                    pause = INTERVAL
                    await self._notify(conn)
            except psycopg.Error as exc:
                self._wanted.set()  # the one that failed is still wanted
                pause = min(_LONGEST_PAUSE, max(0.1, pause * 2))
                logger.warning(
                    "relays cannot be woken, again in %.1f s: %s", pause, type(exc).__name__
                )
                await asyncio.sleep(pause)

    async def _notify(self, conn: AsyncConnection[Any]) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])
            await asyncio.sleep(INTERVAL)
