"""The relay: carries what waits in the outbox to the stream."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import backoff

from mtenant_errors import AppError, from_exception
from mtenant_events.abc import BatchTransport
from mtenant_events.batch_span import batch_span
from mtenant_events.event import Message, PublishResult
from mtenant_events.store.errors import OutboxNotInstalled, OutboxUnavailable
from mtenant_events.store.queue import OutboxQueue
from mtenant_events.store.row import Failure, Row
from mtenant_events.wakeup import Wakeup

BATCH: Final = 500
"""Rows of one batch at most."""

PATIENCE: Final = 5.0
"""Seconds that a batch may publish: its transaction must not stay open for long."""

FIRST_DELAY: Final = 1.0
"""Seconds that a row waits which has failed once; doubled each time."""

LONGEST_DELAY: Final = 60.0
"""Seconds that a row waits at most. It is never given up: its event belongs to a committed change."""

POLL: Final = 1.0
"""Seconds between two looks without any hint."""

_LONGEST_TEXT: Final = 500
_GLANCE: Final = 0.1  # seconds between two looks at whether NATS is still there

logger = logging.getLogger(__name__)


class Relay:
    """Carries what waits in the outbox to the stream, in order for each tenant's key; `async with` it.

    Any number may run: each batch takes the rows of some tenants under locks that end with its
    transaction. A row is deleted when the stream has acknowledged it; a crash between the two publishes
    it again under the same message id, which the stream knows for ten minutes, and the inbox for longer.

    Args:
        conninfo: A URL or a connection string. The relay has a connection of its own.
        transport: What it publishes with.
        listen: Whether to be woken by other processes (LISTEN). False behind a pooler that gives
            each transaction another connection: then it only looks once a second, and when `wake`
            is called.

    Attributes:
        lag: How long the oldest row has waited, in seconds, as of the last look.
    """

    def __init__(self, conninfo: str, transport: BatchTransport, *, listen: bool = True) -> None:
        self._queue = OutboxQueue(conninfo, listen=listen)
        self._transport = transport
        self._listen = listen
        self._wakeup = Wakeup(POLL)
        self._stopping = asyncio.Event()
        self._waits = _waits()
        self._task: asyncio.Task[None] | None = None
        self.lag = 0.0

    async def __aenter__(self) -> Self:
        """Connect, and start.

        Raises:
            OutboxNotInstalled: There is no outbox, or the role may not use it.
            OutboxUnavailable: The database does not answer.
        """
        async with self._queue:
            pass  # what is wrong from the beginning is told here, not in a log
        self._stopping.clear()
        self._task = asyncio.create_task(self.run(), name="mtenant-events relay")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the batch that is open, and stop."""
        self.stop()
        task, self._task = self._task, None
        if task is not None:
            await task

    @property
    def running(self) -> bool:
        """Whether it is at work, or waits for a server to come back."""
        return self._task is not None and not self._task.done()

    def wake(self, *, committed: bool = False) -> None:
        """Say that an event was added: it looks soon.

        Args:
            committed: Whether one look will do. Otherwise it looks again, until the transaction must be
                over.
        """
        self._wakeup.hint(committed=committed)

    def stop(self) -> None:
        """Let `run` return when the batch that is open has ended."""
        self._stopping.set()
        self._wakeup.hint()

    async def run(self) -> None:
        """Carry until `stop` is called. A lost connection is made again, however long it takes."""
        while not self._stopping.is_set():
            try:
                async with self._queue:
                    await self._serve()
            except (OutboxUnavailable, OutboxNotInstalled) as exc:
                wait = next(self._waits)
                logger.warning("the outbox cannot be read, again in %.1f s: %s", wait, exc.internal)
                await self._pause(wait)
            except Exception:
                logger.exception("the relay has ended by a fault of its own")
                raise

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            if not self._transport.connected:
                # Not a batch: it would hold its locks and its transaction for nothing.
                await self._pause(_GLANCE)
                continue
            batch = await self._queue.take(BATCH)
            self.lag = batch.lag
            if batch.rows and not await self._carry(batch.rows):
                await self._pause(next(self._waits))
                continue
            self._waits = _waits()
            if not batch.rows and batch.more:
                self._wakeup.missed()
            if not (batch.rows and batch.more):
                await self._rest()

    async def _rest(self) -> None:
        if self._listen:
            with self._queue.listening(self._wakeup.hint):
                await self._wakeup.wait()
        else:
            await self._wakeup.wait()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _carry(self, rows: Sequence[Row]) -> bool:
        """Publish a batch and end it; tell whether anything of it arrived."""
        sent: list[Row] = []
        failed: list[Failure] = []
        with batch_span(rows, failed):
            await self._within_patience(self._publish(rows, sent, failed))
        if failed:
            logger.warning(
                "%d events cannot be published, and are delayed; the first: %s",
                len(failed),
                failed[0].error,
            )
        await self._queue.finish(sent, failed)
        return bool(sent)

    async def _within_patience(self, publishing: Coroutine[Any, Any, None]) -> None:
        """Await it, but no longer than a batch may take, nor when NATS is gone."""
        loop = asyncio.get_running_loop()
        task, end = asyncio.create_task(publishing), loop.time() + PATIENCE
        try:
            while not task.done() and loop.time() < end and self._transport.connected:
                await asyncio.wait({task}, timeout=_GLANCE)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _send(self, rows: Sequence[Row]) -> Sequence[PublishResult | AppError]:
        messages = [Message(row.subject, row.headers, row.body) for row in rows]
        try:
            return await self._transport.publish_many(messages)
        except Exception as exc:
            # One of them is nothing that can be published, such as a row made by hand. It must not
            # stop the others.
            if len(rows) == 1:
                return [from_exception(exc)]
            return [result for row in rows for result in await self._send([row])]

    async def _publish(self, rows: Sequence[Row], sent: list[Row], failed: list[Failure]) -> None:
        """Publish rows of one key one after the other, and those of different keys at once.

        The next of a key is sent when the one before it is acknowledged. Otherwise one that failed would
        be behind those that did not.
        """
        keys: dict[tuple[str, str], deque[Row]] = {}
        for row in rows:
            keys.setdefault((row.tenant, row.key), deque()).append(row)
        while keys:
            heads = [waiting[0] for waiting in keys.values()]
            results = await self._send(heads)
            for row, result in zip(heads, results, strict=True):
                key = row.tenant, row.key
                if isinstance(result, AppError):
                    del keys[key]
                    if self._transport.connected:
                        failed.append(Failure(row, _text(result), _delay(row.attempts)))
                    continue
                sent.append(row)
                keys[key].popleft()
                if not keys[key]:
                    del keys[key]


def _text(error: AppError) -> str:
    # A text of PostgreSQL has no NUL; and one that could not be stored would stop the relay.
    return f"{error.code}: {error.internal or error.message}".replace("\0", "")[:_LONGEST_TEXT]


def _delay(attempts: int) -> float:
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts, 16))
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret


def _waits() -> Iterator[float]:
    longest = backoff.expo(factor=0.1, max_value=5)
    next(longest)  # a generator of that library begins with nothing
    return (seconds / 2 + backoff.full_jitter(seconds / 2) for seconds in longest)
