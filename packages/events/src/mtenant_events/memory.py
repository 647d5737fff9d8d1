"""A bus in memory, for tests: it really delivers, fails, redelivers and dead-letters, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from mtenant_errors import AppError
from mtenant_events.codec import EXPECTED_STREAM, encode
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.abc import ConsumerSpec, Delivery, InboxLike
from mtenant_events.consumer.group import Group
from mtenant_events.consumer.handling import UnitOfWork
from mtenant_events.context import event_of
from mtenant_events.deadletter import DeadLetter, DeadLetters
from mtenant_events.errors import BusClosed, EventsUnavailable, PublishUnknown
from mtenant_events.event import Message, PublishResult
from mtenant_events.health import BusHealth
from mtenant_events.memory_inbox import MemoryInbox, MemoryTransaction
from mtenant_events.memory_stream import MemorySource, MemoryStream, matches
from mtenant_events.subscriptions import Subscriptions
from mtenant_events.telemetry import Telemetry
from mtenant_events.virtual_clock import VirtualClock

__all__ = ["MemoryBus", "MemoryInbox", "MemoryTransaction", "VirtualClock"]

_TURNS: Final = 50  # of the loop, in which what is ready to run has run
_GLANCE: Final = 0.001
_PATIENCE: Final = 0.25  # real seconds for a handler that waits for something real


class MemoryTransport:
    """Publishes into streams in memory; it meets `abc.Transport`."""

    def __init__(self, config: EventsConfig, clock: VirtualClock) -> None:
        self.events = MemoryStream(config.stream, clock, config.duplicate_window.total_seconds())
        self.letters = MemoryStream(
            config.dead_letter_stream, clock, config.duplicate_window.total_seconds()
        )
        self.connected = True
        self.closed = False
        self.faults: list[tuple[AppError, bool]] = []
        self._config = config

    async def publish(self, message: Message) -> PublishResult:
        """Publish a message.

        Raises:
            AppError: That of `MemoryBus.fail_next`, or `EventsUnavailable` while disconnected.
        """
        await asyncio.sleep(0)  # as anything that goes over a network
        if self.closed:
            raise BusClosed(internal="the bus is closed")
        if not self.connected:
            raise EventsUnavailable(internal="the bus was disconnected by a test")
        if self.faults:
            error, stored = self.faults.pop(0)
            if stored:
                self._store(message)
            raise error
        return self._store(message)

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        """Publish messages, each of them once; return what became of each."""
        results: list[PublishResult | AppError] = []
        for message in messages:
            try:
                results.append(await self.publish(message))
            except AppError as exc:
                results.append(exc)
        return results

    def _store(self, message: Message) -> PublishResult:
        letters = message.subject.startswith(f"{self._config.prefix}.dlq.")
        stream = self.letters if letters else self.events
        expected = message.headers.get(EXPECTED_STREAM, stream.name)
        if expected != stream.name:
            raise ValueError(f"{message.subject} is for {stream.name}, not for {expected}")
        return stream.store(message)


class MemoryBus:
    """An `EventBus` without a server: the same consumers on a stream in memory; `async with` it.

    Nothing happens by itself that takes time: `settle` lets everything be handled, and moves the clock to the
    next redelivery until nothing is left; `advance` moves it by so much.

    Args:
        config: The settings.
        inbox: Notes what was handled by handlers that ask for `tx`. A `MemoryInbox` for those
            whose transaction is of that; without one it is the real one, in the transaction's database.

    Attributes:
        clock: Its time.

    >>> async def main() -> None:
    ...     subs, seen = Subscriptions(), []
    ...
    ...     @subs.on("deal.won", name="log", max_attempts=3)
    ...     async def log(event):
    ...         seen.append(bus.clock.now())
    ...         raise ValueError("not today")
    ...
    ...     async with MemoryBus() as bus:
    ...         bus.include(subs, service="demo")
    ...         await bus.publish(Event(type="deal.won", source="/x", tenant="acme", data={}))
    ...         await bus.settle()
    ...         print(len(seen), [letter.reason for letter in bus.dead_letters])
    >>> from mtenant_events.event import Event
    >>> asyncio.run(main())
    3 ['attempts_exhausted']
    """

    def __init__(
        self, config: EventsConfig | None = None, *, inbox: InboxLike | None = None
    ) -> None:
        self.config = config or EventsConfig()
        self.clock = VirtualClock()
        self.transport = MemoryTransport(self.config, self.clock)
        self.telemetry = Telemetry(self.config)
        self._inbox = inbox
        self._groups: list[Group] = []
        self._sources: dict[Group, list[MemorySource]] = {}
        self._lost_acks = 0
        self._unsent: list[Callable[[], None]] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def publish(self, event: Any, *, key: str | None = None) -> PublishResult:
        """Publish an event, as `EventBus.publish` does, but for the retries."""
        made = event_of(event, source=self.config.source)
        with self.telemetry.publishing(made.type):
            return await self.transport.publish(encode(made, self.config, key=key))

    async def publish_many(
        self, events: Iterable[Any], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        """Publish events, as `EventBus.publish_many` does."""
        made = [event_of(event, source=self.config.source) for event in events]
        messages = [encode(event, self.config) for event in made]
        return await self.transport.publish_many(messages, window=window)

    def include(
        self,
        subscriptions: Subscriptions,
        *,
        service: str,
        unit_of_work: UnitOfWork | None = None,
    ) -> Group:
        """Start to call handlers, as `EventBus.include` does; twice is as two processes."""
        ground = _MemoryGround(self)
        group = Group(
            ground, subscriptions, service=service, unit_of_work=unit_of_work, inbox=self._inbox
        )
        self._sources[group] = ground.sources
        group.start()
        self._groups.append(group)
        return group

    def health(self) -> BusHealth:
        """Return how it is doing."""
        return BusHealth(
            connected=self.transport.connected and not self._closed,
            closed=self._closed,
            heartbeat_age=0.0,
            consumers=tuple(one for group in self._groups for one in group.health()),
        )

    async def close(self, grace: float = 20.0) -> None:
        """Let handlers end, for so many seconds of virtual time, and stop."""
        if self._closed:
            return
        self._closed = True
        stopping = asyncio.gather(*(group.stop(grace) for group in self._groups))
        await self._let_pass(stopping)
        self.transport.closed = True

    @property
    def messages(self) -> list[Message]:
        """Everything in the stream of events, in its order."""
        return list(self.transport.events.messages.values())

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Everything in the stream of dead letters, in its order."""
        letters = self.transport.letters.messages
        return [_letter(sequence, message) for sequence, message in letters.items()]

    @property
    def letters(self) -> DeadLetters:
        """What can be done with the dead letters."""
        return DeadLetters(_MemoryLetters(self.transport), self.transport, self.config)

    async def settle(self, *, limit: float = 86_400.0) -> None:
        """Return when every event is handled or dead-lettered, however often it has to come.

        Args:
            limit: Seconds of virtual time that this may take.

        Raises:
            TimeoutError: Something is left after that, such as an event that is always retried.
        """
        end = self.clock.now() + limit
        await self._quiet()
        while self._left():
            if not self.clock.step(end):
                raise TimeoutError(f"{self._left()} events are not handled after {limit:g} s")
            await self._quiet()

    async def advance(self, seconds: float) -> None:
        """Let so much virtual time pass, and what happens in it."""
        end = self.clock.now() + seconds
        await self._quiet()
        while self.clock.step(end):
            await self._quiet()
        await self._quiet()

    def fail_next(
        self, count: int = 1, error: AppError | None = None, *, stored: bool = False
    ) -> None:
        """Let the next messages fail that are published; dead letters are among them.

        Args:
            count: How many.
            error: With what; by default `PublishUnknown`.
            stored: Whether they are stored all the same: it was the acknowledgement that got lost.
        """
        self.transport.faults += [(error or PublishUnknown(), stored)] * count

    def drop_acks(self, count: int = 1) -> None:
        """Lose what consumers say of the next messages that they settle: these come again."""
        self._lost_acks += count

    def disconnect(self) -> None:
        """Cut the connection: nothing is published or delivered."""
        self._connect(False)

    def reconnect(self) -> None:
        """Connect again; what consumers have said meanwhile is sent."""
        self._connect(True)
        unsent, self._unsent = self._unsent, []
        for what in unsent:
            what()

    def crash(self, group: Group) -> None:
        """End the handlers of a group as `kill -9` does: nobody is told of anything."""
        for source in self._sources.pop(group):
            source.die()
        group.abandon()
        self._groups.remove(group)

    def _connect(self, connected: bool) -> None:
        self.transport.connected = connected
        for sources in self._sources.values():
            for source in sources:
                source.connected = connected
                source.consumer.wake()

    def carry(self, what: Callable[[], None], settles: bool) -> None:
        """Carry what a consumer says to the stream, unless a fault is in the way."""
        if settles and self._lost_acks:
            self._lost_acks -= 1
        elif self.transport.connected:
            what()
        else:
            self._unsent.append(what)

    def _left(self) -> int:
        return sum(consumer.outstanding for consumer in self.transport.events.consumers.values())

    async def _quiet(self) -> None:
        """Return when all that can happen at this time has happened.

        A handler that waits for something real, such as a database, is given real time.
        """
        waited = 0.0
        while waited < _PATIENCE:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            consumers = [consumer for group in self._groups for consumer in group.consumers]
            tasks = {task for consumer in consumers for task in consumer.handling}
            if tasks <= self.clock.sleeping:
                return
            await asyncio.sleep(_GLANCE)
            waited += _GLANCE

    async def _let_pass(self, ending: asyncio.Future[Any]) -> None:
        while not ending.done():
            await self._quiet()
            if not ending.done() and self.clock.next is not None:
                self.clock.step(self.clock.next)
        await ending


class _MemoryGround:
    """What the consumers of one group stand on."""

    def __init__(self, bus: MemoryBus) -> None:
        self.config = bus.config
        self.transport = bus.transport
        self.telemetry = bus.telemetry
        self.clock = bus.clock
        self.sources: list[MemorySource] = []
        self._carry = bus.carry

    def open(
        self, spec: ConsumerSpec, window: int, receive: Callable[[Delivery], None]
    ) -> MemorySource:
        """Take from a consumer."""
        consumer = self.transport.events.consumer(spec)
        source = MemorySource(consumer, window, receive, self._carry)
        source.connected = self.transport.connected
        self.sources.append(source)
        return source


class _MemoryLetters:
    """The dead letters in memory; it meets `deadletter.LetterStore`."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    async def next_letter(self, after: int, subject: str) -> DeadLetter | None:
        """Return the first letter behind a place, of subjects like this one."""
        for sequence, message in self._transport.letters.messages.items():
            if sequence > after and matches(subject, message.subject):
                return _letter(sequence, message)
        return None

    async def letter(self, id_: int) -> DeadLetter | None:
        """Return one letter; None if it is gone."""
        message = self._transport.letters.messages.get(id_)
        return None if message is None else _letter(id_, message)

    async def body_of(self, sequence: int) -> bytes | None:
        """Return the body of an event's message; None if it is gone."""
        message = self._transport.events.messages.get(sequence)
        return None if message is None else message.body

    async def delete(self, id_: int) -> bool:
        """Delete a letter; tell whether it was there."""
        return self._transport.letters.messages.pop(id_, None) is not None


def _letter(sequence: int, message: Message) -> DeadLetter:
    return DeadLetter(sequence, message.subject, dict(message.headers), message.body)
