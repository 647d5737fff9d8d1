"""A stream in memory, and its consumers: what a server keeps of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mtenant_events.codec import MESSAGE_ID
from mtenant_events.consumer.abc import ConsumerSpec, Delivery
from mtenant_events.event import Message, PublishResult
from mtenant_events.virtual_clock import Timer, VirtualClock


class MemoryStream:
    """Messages in the order of their arrival; one that comes twice within the window is stored once.

    Args:
        name: Of the stream.
        clock: Its time.
        window: Seconds for which it knows a message's id.
    """

    def __init__(self, name: str, clock: VirtualClock, window: float) -> None:
        self.name = name
        self.messages: dict[int, Message] = {}
        self.consumers: dict[str, MemoryConsumer] = {}
        self.last = 0
        self._clock = clock
        self._window = window
        self._known: dict[str, tuple[int, float]] = {}

    def store(self, message: Message) -> PublishResult:
        """Store a message, and let consumers know."""
        id_, now = message.headers.get(MESSAGE_ID), self._clock.now()
        known = self._known.get(id_) if id_ is not None else None
        if known is not None and now - known[1] < self._window:
            return PublishResult(self.name, known[0], duplicate=True, attempts=1)
        self.last += 1
        self.messages[self.last] = Message(message.subject, dict(message.headers), message.body)
        if id_ is not None:
            self._known[id_] = (self.last, now)
        for consumer in self.consumers.values():
            consumer.wake()
        return PublishResult(self.name, self.last, duplicate=False, attempts=1)

    def consumer(self, spec: ConsumerSpec) -> MemoryConsumer:
        """Return a consumer, made if it is not there."""
        found = self.consumers.get(spec.name)
        if found is None:
            old = self.consumers.pop(spec.was, None) if spec.was is not None else None
            beginning = self.last if spec.deliver == "new" else 0
            if old is not None:
                beginning = old.floor
            found = self.consumers[spec.name] = MemoryConsumer(self, spec, self._clock, beginning)
        found.spec = spec
        return found


@dataclass(slots=True)
class _Pending:
    count: int = 0
    timer: Timer | None = None


@dataclass(eq=False)
class MemoryConsumer:
    """How far a consumer is, and what it has given out."""

    stream: MemoryStream
    spec: ConsumerSpec
    clock: VirtualClock
    cursor: int
    sources: deque[MemorySource] = field(default_factory=deque)
    _pending: dict[int, _Pending] = field(default_factory=dict)
    _again: deque[int] = field(default_factory=deque)
    _woken: bool = False

    @property
    def floor(self) -> int:
        """The place up to which everything is settled."""
        return min(self._pending, default=self.cursor + 1) - 1

    @property
    def outstanding(self) -> int:
        """How many messages it has to give out, or has given out and not heard of."""
        return len(self._pending) + sum(
            self._wants(self.stream.messages[sequence])
            for sequence in self.stream.messages
            if sequence > self.cursor
        )

    def wake(self) -> None:
        """Give out what can be given out, soon."""
        if not self._woken and self.sources:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._give)

    def settle(self, sequence: int) -> None:
        """Note that a message is done with."""
        pending = self._pending.pop(sequence, None)
        if pending is not None and pending.timer is not None:
            pending.timer.cancel()
        self.wake()

    def again(self, sequence: int, delay: float) -> None:
        """Give a message out once more, after a delay."""
        pending = self._pending.get(sequence)
        if pending is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = self.clock.call_later(delay, lambda: self._expired(sequence))

    def _expired(self, sequence: int) -> None:
        if sequence in self._pending:
            self._again.append(sequence)
            self.wake()

    def _give(self) -> None:
        self._woken = False
        while (source := self._free()) is not None and (sequence := self._next()) is not None:
            pending = self._pending.setdefault(sequence, _Pending())
            pending.count += 1
            message = self.stream.messages[sequence]
            self.again(sequence, self.spec.ack_wait)
            source.give(MemoryDelivery(source, message, sequence, pending.count))

    def _free(self) -> MemorySource | None:
        """Return the next of the processes that has asked for messages."""
        for _ in range(len(self.sources)):
            self.sources.rotate(-1)
            if self.sources[0].room:
                return self.sources[0]
        return None

    def _next(self) -> int | None:
        while self._again:
            sequence = self._again.popleft()
            if sequence in self._pending and sequence in self.stream.messages:
                return sequence
        if len(self._pending) >= self.spec.max_ack_pending:
            return None
        while self.cursor < self.stream.last:
            self.cursor += 1
            message = self.stream.messages.get(self.cursor)
            if message is not None and self._wants(message):
                return self.cursor
        return None

    def _wants(self, message: Message) -> bool:
        return any(matches(pattern, message.subject) for pattern in self.spec.subjects)


class MemoryDelivery:
    """A message that was given to a process."""

    def __init__(self, source: MemorySource, message: Message, sequence: int, count: int) -> None:
        self.subject = message.subject
        self.headers: Mapping[str, str] = message.headers
        self.body = message.body
        self.sequence = sequence
        self.count = count
        self._source = source
        self._settled = False

    async def ack(self) -> None:
        """It is handled."""
        self._settle(lambda consumer: consumer.settle(self.sequence))

    async def nak(self, delay: float) -> None:
        """Deliver it again after `delay` seconds."""
        self._settle(lambda consumer: consumer.again(self.sequence, delay))

    async def term(self, reason: str) -> None:
        """Never deliver it again."""
        self._settle(lambda consumer: consumer.settle(self.sequence))

    async def in_progress(self) -> None:
        """It is being handled."""
        if not self._settled:
            consumer = self._source.consumer
            self._source.tell(lambda: consumer.again(self.sequence, consumer.spec.ack_wait))

    def _settle(self, how: Callable[[MemoryConsumer], None]) -> None:
        if not self._settled:
            self._settled = True
            source = self._source
            source.tell(lambda: how(source.consumer), settles=True)
            source.released()


class MemorySource:
    """One process that takes from a consumer; see `consumer.abc.Source`.

    Args:
        consumer: What it takes from.
        window: How many messages it may have in hand.
        receive: Called with each.
        tell: Carries what it says to the server, unless that is lost on the way.
    """

    heartbeat_age = 0.0

    def __init__(
        self,
        consumer: MemoryConsumer,
        window: int,
        receive: Callable[[Delivery], None],
        tell: Callable[[Callable[[], None], bool], None],
    ) -> None:
        self.consumer = consumer
        self._window = window
        self._receive = receive
        self._tell = tell
        self._held = 0
        self._dead = False
        self.connected = True
        consumer.sources.append(self)
        consumer.wake()

    @property
    def room(self) -> bool:
        """Whether it wants another message."""
        return self.connected and self._held < self._window

    @property
    def ready(self) -> bool:
        """Whether it is connected."""
        return self.connected and not self._dead

    async def until_ready(self) -> None:
        """Return at once."""

    async def stop(self) -> None:
        """Take nothing more."""
        if self in self.consumer.sources:
            self.consumer.sources.remove(self)
        if self.consumer.spec.ephemeral:
            self.consumer.stream.consumers.pop(self.consumer.spec.name, None)
        self.consumer.wake()

    def die(self) -> None:
        """Take and say nothing more, as a killed process."""
        self._dead = True
        if self in self.consumer.sources:
            self.consumer.sources.remove(self)

    def give(self, delivery: MemoryDelivery) -> None:
        """Hand a message over."""
        self._held += 1
        self._receive(delivery)

    def tell(self, what: Callable[[], None], *, settles: bool = False) -> None:
        """Tell the server something."""
        if not self._dead:
            self._tell(what, settles)

    def released(self) -> None:
        """Note that a message is out of hand."""
        self._held -= 1
        self.consumer.wake()


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject is one of a pattern's: `*` is one word, `>` at the end all the rest.

    >>> matches("crm.evt.*.deal.won.*", "crm.evt.acme.deal.won.3"), matches("crm.>", "crm")
    (True, False)
    """
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(
        want in {"*", word} for want, word in zip(wanted, words, strict=True)
    )
