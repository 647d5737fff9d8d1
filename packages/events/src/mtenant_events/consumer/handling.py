"""One delivery: from the message to the handler, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

from mtenant_errors import AppError
from mtenant_events.abc import Executor
from mtenant_events.codec import decode
from mtenant_events.consumer.abc import Delivery, InboxLike
from mtenant_events.consumer.outcome import (
    FAILED,
    HANDLED,
    PERMANENT,
    POISON,
    Again,
    Dead,
    Done,
    HandlerTimeout,
    Outcome,
    Permanent,
    Retry,
    Skip,
)
from mtenant_events.consumer.replayed import baseline, event_subject
from mtenant_events.consumer.retry_delay import retry_delay
from mtenant_events.consumer.tally import Tally
from mtenant_events.context import caused_by
from mtenant_events.errors import BadMessage
from mtenant_events.event import Event
from mtenant_events.inbox import History
from mtenant_events.subscriptions import Subscription
from mtenant_events.telemetry import Telemetry

UnitOfWork = Callable[[Event[Any]], AbstractAsyncContextManager[Executor]]

MOST_UNKNOWN: Final = 20
"""Deliveries without a known end after which an event is dead-lettered and its handler not called."""

_PATIENCE: Final = 5.0  # seconds in which the end of a delivery must be noted
_LONGEST_ERROR: Final = 500

logger = logging.getLogger(__name__)


class _Hopeless(Exception):
    """The handler is not called any more: leaves the transaction."""

    def __init__(self, reason: str, text: str, attempts: int, ends: int) -> None:
        super().__init__(text)
        self.reason, self.attempts, self.ends = reason, attempts, ends


class _NotBegun(Exception):
    """The transaction or its inbox failed before the handler was called."""


@dataclass(slots=True)
class Work:
    """A delivery that is being handled.

    Attributes:
        delivery: What was delivered.
        started: When, by the consumer's clock.
        task: Who handles it.
        cancelled_for: Why the consumer has cancelled it, if it has.
        settling: Whether the handler is through: too late to cancel it.
    """

    delivery: Delivery
    started: float
    task: asyncio.Task[None] | None = None
    cancelled_for: Literal["timeout", "stop"] | None = None
    settling: bool = False

    def cancel(self, reason: Literal["timeout", "stop"]) -> None:
        """Cancel the handler, unless it is through."""
        if self.task is not None and not self.settling and self.cancelled_for is None:
            self.cancelled_for = reason
            self.task.cancel()


class Handling:
    """Calls the handler of a subscription.

    Args:
        subscription: The handler, and what it wants.
        consumer: The consumer's name, which is also its name in inboxes.
        was: Its name before.
        prefix: Of the subjects.
        unit_of_work: Begins the transaction for an event.
        inbox: Notes what was handled.
        telemetry: Of the bus.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        consumer: str,
        was: str | None,
        prefix: str,
        unit_of_work: UnitOfWork | None,
        inbox: InboxLike,
        telemetry: Telemetry,
    ) -> None:
        self._subscription = subscription
        self._handler = subscription.handler
        self._consumer = consumer
        self._was = was
        self._prefix = prefix
        self._unit_of_work = unit_of_work if subscription.wants_tx else None
        self._inbox = inbox
        self._telemetry = telemetry
        self.tally = Tally()

    async def run(self, work: Work) -> Outcome:
        """Handle a delivery, and return what becomes of it; it raises no error."""
        delivery = work.delivery
        try:
            event = self._decode(delivery)
        except BadMessage as exc:
            return Dead(exc.reason.value, _text(exc))
        try:
            if self._unit_of_work is None and delivery.count > 1:
                self._guard(delivery, History())
            with self._processing(delivery, event), caused_by(event):
                if self._unit_of_work is None:
                    await self._handler(event)
                    return HANDLED
                return await self._in_transaction(delivery, event, self._unit_of_work)
        except Skip:
            return Done("skipped")
        except Retry as exc:
            await self._end(delivery, event, raised=False)
            return Again(exc.after, str(exc))
        except Permanent as exc:
            history = await self._end(delivery, event, raised=True)
            return Dead(PERMANENT, exc.reason[:_LONGEST_ERROR], *self._counts(delivery, history))
        except _Hopeless as exc:
            return Dead(exc.reason, str(exc), exc.attempts, exc.ends)
        except (Exception, asyncio.CancelledError) as exc:
            if work.cancelled_for is None and not _is_cancelled():
                return await self._failed(delivery, event, exc)
            return await self._cancelled(work, event, exc)

    async def note_stop(self, delivery: Delivery) -> None:
        """Note that a delivery which has waited for its handler ends by a graceful stop."""
        if self._unit_of_work is None or delivery.count <= 1:
            return  # no row would keep it, or it is the first: the guard is far away
        try:
            event = self._decode(delivery)
        except BadMessage:
            return
        await self._end(delivery, event, raised=False)

    def _decode(self, delivery: Delivery) -> Event[Any]:
        return decode(
            event_subject(self._prefix, delivery.subject),
            delivery.headers,
            delivery.body,
            self._subscription.registry,
            prefix=self._prefix,
        )

    def _processing(self, delivery: Delivery, event: Event[Any]) -> AbstractContextManager[object]:
        return self._telemetry.processing(
            delivery.headers,
            event.type,
            tenant=event.tenant,
            consumer=self._consumer,
            message_id=event.id,
            details={
                "mtenant.stream.sequence": delivery.sequence,
                "mtenant.delivery.count": delivery.count,
            },
        )

    async def _in_transaction(
        self, delivery: Delivery, event: Event[Any], unit_of_work: UnitOfWork
    ) -> Outcome:
        begun = handled = False
        try:
            async with unit_of_work(event) as tx:
                if self._was and not await self._inbox.begin(tx, self._was, event.id):
                    return Done("duplicate")
                history = await self._inbox.begin(tx, self._consumer, event.id)
                if history is None:
                    return Done("duplicate")
                self._guard(delivery, history)
                begun = True
                await self._handler(event, tx=tx)
                handled = True
        except Exception as exc:
            if begun or isinstance(exc, _Hopeless):
                raise
            raise _NotBegun from exc
        if not handled:
            raise RuntimeError("the unit of work has swallowed an exception of its handler")
        return HANDLED

    async def _cancelled(self, work: Work, event: Event[Any], exc: BaseException) -> Outcome:
        """End a handler that was cancelled, whatever it has made of the cancellation."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- for mypy: only a task runs this
        if work.cancelled_for is None or task.uncancel() > 0:
            raise exc  # the program ends, without a stop
        if work.cancelled_for == "timeout":
            limit = HandlerTimeout(f"cancelled after {self._subscription.timeout:g} s")
            return await self._raised(work.delivery, event, limit)
        await self._end(work.delivery, event, raised=False)
        return Again(0, "the consumer stops")

    async def _failed(self, delivery: Delivery, event: Event[Any], exc: BaseException) -> Outcome:
        """End a handler that has raised, or was not called."""
        if not isinstance(exc, _NotBegun):
            # A cancellation that nobody has asked this task for is an error of what it awaited.
            return await self._raised(delivery, event, exc)
        cause = exc.__cause__ or exc
        if isinstance(cause, AppError) and not cause.retryable:
            return await self._raised(delivery, event, cause)  # not a database that is away
        self.tally.note(delivery.sequence, raised=False)
        logger.warning("%s cannot begin: %s", self._consumer, _kind(cause))
        ends = self.tally.of(delivery.sequence).known_ends
        return Again(retry_delay(self._subscription.first_delay, ends), _kind(cause))

    async def _raised(self, delivery: Delivery, event: Event[Any], exc: BaseException) -> Outcome:
        history = await self._end(delivery, event, raised=True)
        if history is None:
            return Done("duplicate")
        attempts, ends = self._counts(delivery, history)
        logger.warning(
            "%s failed on event %s, attempt %d of %d: %s%s",
            self._consumer,
            event.id,
            attempts,
            self._subscription.max_attempts,
            _kind(exc),
            _place(exc),
        )
        if attempts >= self._subscription.max_attempts:
            return Dead(FAILED, _text(exc), attempts, ends)
        return Again(retry_delay(self._subscription.first_delay, attempts), _kind(exc))

    async def _end(self, delivery: Delivery, event: Event[Any], *, raised: bool) -> History | None:
        """Note the end of a delivery: in the inbox, else in memory; None if it was handled meanwhile."""
        if self._unit_of_work is None:
            self.tally.note(delivery.sequence, raised=raised)
            return History()
        try:
            async with asyncio.timeout(_PATIENCE), self._unit_of_work(event) as tx:
                return await self._inbox.end(tx, self._consumer, event.id, raised=raised)
        except Exception as exc:  # the database is away; the count must not be lost with it
            logger.warning("%s cannot note an attempt: %s", self._consumer, _kind(exc))
            self.tally.note(delivery.sequence, raised=raised)
            return History()

    def _guard(self, delivery: Delivery, history: History) -> None:
        """Leave, if too many deliveries took the process with them, or only the letter is missing.

        Without a row, what was raised in another process is not told from a crash.
        """
        attempts, ends = self._counts(delivery, history)
        raised = (
            self.tally.of(delivery.sequence).attempts if self._unit_of_work is None else attempts
        )
        if raised >= self._subscription.max_attempts:
            raise _Hopeless(
                FAILED, "it failed before, and its letter was not stored", attempts, ends
            )
        if delivery.count - 1 - ends >= MOST_UNKNOWN:
            unknown = f"{delivery.count - 1 - ends} deliveries ended without a word"
            raise _Hopeless(POISON, unknown, attempts, ends)

    def _counts(self, delivery: Delivery, history: History | None) -> tuple[int, int]:
        """Return how often the handler raised, and how many ends are known, since the last replay."""
        known, replayed = self.tally.of(delivery.sequence), baseline(delivery.headers)
        if self._unit_of_work is None:
            # Deliveries that ended in another way than by an exception are not attempts.
            return delivery.count - (known.known_ends - known.attempts), known.known_ends
        history = history or History()
        return (
            history.attempts - replayed.attempts + known.attempts,
            history.known_ends - replayed.known_ends + known.known_ends,
        )


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _kind(exc: BaseException) -> str:
    # In a log, not its text: that may quote a row, or what a handler was told.
    return exc.code if isinstance(exc, AppError) else type(exc).__qualname__


def _place(exc: BaseException) -> str:
    # What a traceback has to tell, without the texts that it would quote.
    frames = traceback.extract_tb(exc.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _text(exc: BaseException) -> str:
    told = (exc.internal or exc.message) if isinstance(exc, AppError) else str(exc)
    return f"{_kind(exc)}: {told}"[:_LONGEST_ERROR]
