"""A consumer: takes deliveries, handles some at a time, and settles each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from mtenant_events.consumer.abc import ConsumerSpec, Delivery, Ground, InboxLike, Source
from mtenant_events.consumer.handling import Handling, UnitOfWork, Work
from mtenant_events.consumer.lanes import Lanes
from mtenant_events.consumer.outcome import Again, Dead, Done, Outcome
from mtenant_events.consumer.retry_delay import retry_delay
from mtenant_events.deadletter import letter_of
from mtenant_events.subjects import PARTITIONS, subjects_of
from mtenant_events.subscriptions import Subscription

WINDOW: Final = 4
"""Deliveries asked for or in hand, for each that may be handled at a time."""

SHARE: Final = 0.75
"""Part of the handlers that one tenant may have at a time."""

DEAF: Final = 30.0
"""Seconds without a word from the server after which a consumer is not healthy."""

_LETTER_RETRY: Final = 5.0  # seconds until a dead letter is tried again that could not be published
_PATIENCE: Final = 8.0  # seconds for what was cancelled to end, and to be noted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """How a consumer is.

    Attributes:
        name: Its name, service and handler.
        healthy: Whether it is there, and was heard of lately.
        heartbeat_age: Seconds since anything was heard of it.
        in_flight: Events that are being handled.
        waiting: Deliveries that wait for a handler.
    """

    name: str
    healthy: bool
    heartbeat_age: float
    in_flight: int
    waiting: int


class Consumer:
    """Handles the events of one subscription.

    With `ordering="key"` it is one consumer of the stream for each partition, of which the server gives out one
    message at a time, to whichever process asks. Its next comes when it is settled, so that an event
    that fails holds its partition, and no other.

    Args:
        subscription: What it handles.
        ground: What it stands on.
        service: The first part of its name.
        unit_of_work: Begins the transaction for an event.
        inbox: Notes what was handled.
        instance: Makes the name of a broadcast's consumer one of this process.
    """

    def __init__(
        self,
        subscription: Subscription,
        ground: Ground,
        *,
        service: str,
        unit_of_work: UnitOfWork | None,
        inbox: InboxLike,
        instance: str,
    ) -> None:
        self.name = f"{service}__{subscription.name}"
        self._was = None if subscription.was is None else f"{service}__{subscription.was}"
        self._subscription = subscription
        self._ground = ground
        self._instance = instance
        prefix = ground.config.prefix
        self._handling = Handling(
            subscription,
            consumer=self.name,
            was=self._was,
            prefix=prefix,
            unit_of_work=unit_of_work,
            inbox=inbox,
            telemetry=ground.telemetry,
        )
        self._lanes = Lanes[Delivery](share=max(1, ceil(subscription.concurrency * SHARE)))
        self._running: dict[asyncio.Task[None], Work] = {}
        self._held: dict[Delivery, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._sources: list[Source] = []
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False
        self._background: set[asyncio.Task[None]] = set()

    @property
    def handling(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks in which events are handled now."""
        return tuple(self._running)

    def start(self) -> None:
        """Begin to take deliveries."""
        window = WINDOW * self._subscription.concurrency
        self._sources = [
            self._ground.open(spec, window, self._receive) for spec in self._specs(window)
        ]
        self._watching = asyncio.create_task(self._watch(), name=f"{self.name} watch")

    async def ready(self) -> None:
        """Return when the stream knows it, and has been asked for events."""
        for source in self._sources:
            await source.until_ready()

    async def stop(self, grace: float) -> None:
        """Take nothing more, wait for handlers, and give back what is in hand.

        Args:
            grace: Seconds that handlers have to end; then they are cancelled.
        """
        self._stopping = True
        await asyncio.gather(*(source.stop() for source in self._sources))
        waiting = self._lanes.clear()
        returning = asyncio.gather(*(self._give_back(delivery) for delivery in waiting))
        await self._until_idle(grace)
        for work in self._running.values():
            work.cancel("stop")
        await self._until_idle(_PATIENCE)
        if self._running:
            logger.error("%d handlers of %s do not end", len(self._running), self.name)
        await returning
        if self._background:
            await asyncio.wait(self._background, timeout=_PATIENCE)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    def abandon(self) -> None:
        """End at once, and settle nothing, as a killed process does."""
        self._stopping = True
        for task in (*self._running, *(() if self._watching is None else (self._watching,))):
            task.cancel()

    def health(self) -> ConsumerHealth:
        """Return how it is."""
        age = max((source.heartbeat_age for source in self._sources), default=0.0)
        ready = bool(self._sources) and all(source.ready for source in self._sources)
        watched = self._watching is not None and not self._watching.done()
        return ConsumerHealth(
            self.name,
            ready and watched and age < DEAF and not self._stopping,
            age,
            len(self._running),
            len(self._lanes),
        )

    def _specs(self, window: int) -> list[ConsumerSpec]:
        subscription, prefix = self._subscription, self._ground.config.prefix
        ordered = subscription.ordering == "key"
        specs = []
        for partition in map(str, range(PARTITIONS)) if ordered else ["*"]:
            subjects = [
                subjects_of(prefix, type_=type_, partition=partition)
                for type_ in subscription.types
            ]
            if not subscription.broadcast:
                subjects.append(f"{prefix}.replay.{self.name}.*.*.*.{partition}")
            suffix = f"__p{partition}" if ordered else ""
            if subscription.broadcast:
                suffix = f"__{self._instance}"
            specs.append(
                ConsumerSpec(
                    name=self.name + suffix,
                    subjects=tuple(subjects),
                    ack_wait=subscription.ack_wait,
                    max_ack_pending=1 if ordered else max(1000, 4 * window),
                    deliver=subscription.deliver,
                    was=None if self._was is None else self._was + suffix,
                    ephemeral=subscription.broadcast,
                )
            )
        return specs

    def _receive(self, delivery: Delivery) -> None:
        if self._stopping:
            self._spawn(self._give_back(delivery))
            return
        now = self._held[delivery] = self._ground.clock.now()
        # The third word from the end but one: of events and of replays alike.
        tenant = delivery.subject.rsplit(".", 4)[-4:][0]
        if len(self._running) < self._subscription.concurrency and self._lanes.enter(tenant):
            self._begin(tenant, delivery, now)
        else:
            self._lanes.put(tenant, delivery)

    def _pump(self) -> None:
        """Begin with as many of those that wait as may run."""
        while (
            len(self._lanes)
            and len(self._running) < self._subscription.concurrency
            and not self._stopping
            and (taken := self._lanes.take()) is not None
        ):
            self._begin(*taken, self._ground.clock.now())

    def _begin(self, tenant: str, delivery: Delivery, now: float) -> None:
        work = Work(delivery, now)
        # In a context of its own: what one handler leaves there, such as a tenant, is for no other.
        task = asyncio.get_running_loop().create_task(self._work(tenant, work), context=Context())
        work.task = task
        self._running[task] = work
        self._idle.clear()

    async def _work(self, tenant: str, work: Work) -> None:
        delivery = work.delivery
        try:
            outcome = await self._handling.run(work)
            work.settling = True
            await self._settle(delivery, outcome)
        except asyncio.CancelledError:
            self._stopping = True  # the program ends: nothing new is begun
            raise
        except Exception:
            logger.exception("%s: a fault of its own", self.name)
            work.settling = True
            await delivery.nak(_LETTER_RETRY)
        finally:
            self._held.pop(delivery, None)
            self._lanes.done(tenant)
            if work.task is not None:
                self._running.pop(work.task, None)
            if not self._running:
                self._idle.set()
            self._pump()

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        telemetry = self._ground.telemetry
        if isinstance(outcome, Done):
            telemetry.ended(self.name, outcome.what)
            await delivery.ack()
        elif isinstance(outcome, Again):
            telemetry.ended(self.name, "retried")
            await delivery.nak(outcome.after)
            return
        elif not await self._bury(delivery, outcome):
            return
        else:
            telemetry.ended(self.name, "dead_lettered", outcome.reason)
        self._handling.tally.forget(delivery.sequence)

    async def _bury(self, delivery: Delivery, dead: Dead) -> bool:
        """Dead-letter it; tell whether that is done."""
        if self._subscription.broadcast:
            logger.error("%s gives up a message: %s", self.name, dead.reason)
        else:
            try:
                letter = letter_of(delivery, dead, self.name, self._ground.config)
                await self._ground.transport.publish(letter)
            except Exception as exc:
                # Not terminated before the letter is stored: it would be lost.
                logger.warning("%s cannot dead-letter: %s", self.name, type(exc).__qualname__)
                self._handling.tally.note(delivery.sequence, raised=False)
                await delivery.nak(retry_delay(_LETTER_RETRY, delivery.count))
                return False
            logger.error("%s has dead-lettered a message: %s", self.name, dead.reason)
        await delivery.term(dead.reason)
        return True

    async def _give_back(self, delivery: Delivery) -> None:
        await self._handling.note_stop(delivery)
        await delivery.nak(0)
        self._held.pop(delivery, None)

    async def _until_idle(self, seconds: float) -> None:
        """Return when no handler runs, or after so many seconds of the consumer's clock."""
        idle = asyncio.ensure_future(self._idle.wait())
        clock = asyncio.ensure_future(self._ground.clock.sleep(seconds))
        try:
            await asyncio.wait({idle, clock}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            clock.cancel()

    async def _watch(self) -> None:
        """Cancel handlers whose time is over, and tell the server of what is still in hand.

        All handlers have the same limit, so the oldest is over first, and one that starts while this
        sleeps is over after it wakes. No handler needs a timer of its own.
        """
        clock, subscription = self._ground.clock, self._subscription
        interval = subscription.ack_wait / 3
        beat = clock.now() + interval
        while True:
            now = clock.now()
            # One that is over already, and does not end, is not waited for.
            running = (work for work in self._running.values() if work.cancelled_for is None)
            oldest = next(running, None)
            started = now if oldest is None else oldest.started
            await clock.sleep(max(0.0, min(beat - now, started + subscription.timeout - now)))
            now = clock.now()
            for work in list(self._running.values()):
                if work.started + subscription.timeout > now:
                    break
                work.cancel("timeout")
            if now >= beat:
                beat = now + interval
                for delivery, received in list(self._held.items()):
                    if received + interval > now:
                        break
                    await delivery.in_progress()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
