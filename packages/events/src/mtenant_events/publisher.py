"""The transport on JetStream: messages go out, and acknowledgements come to an inbox of our own."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import backoff

from mtenant_errors import AppError, from_exception
from mtenant_events.codec import size_of
from mtenant_events.config import EventsConfig
from mtenant_events.connection import Connection
from mtenant_events.direct_client import not_direct
from mtenant_events.errors import (
    EventsUnavailable,
    EventTooLarge,
    PublishUnknown,
    StreamUnavailable,
)
from mtenant_events.event import Message, PublishResult
from mtenant_events.translation import refusal, translated

RETRIES: Final = 3
"""How often a message is sent again at most."""

WINDOW: Final = 256
"""Messages of one `publish_many` that may be without an acknowledgement, unless it says otherwise."""

_WINDOW_BYTES: Final = 8 << 20
_LONG_HEADERS: Final = 16 << 10  # who has more than this, is counted
_RETRIED: Final = (PublishUnknown, StreamUnavailable)
_NO_RESPONDERS: Final = b"NATS/1.0 503"  # NATS protocol: the server's answer where nobody listens

Answer = PublishResult | AppError


class JetStreamTransport:
    """Publishes messages, and waits for the stream to acknowledge them. It meets `abc.Transport`.

    nats-py's `publish_async` never ends where the server answers with an error, and its `publish`
    cannot have many under way without a task for each; so the answers come to an inbox of this class.

    Args:
        connection: An open connection.
        config: Says how long an acknowledgement may take.
    """

    def __init__(self, connection: Connection, config: EventsConfig) -> None:
        self._connection = connection
        self._client = connection.client
        self._timeout = config.publish_timeout.total_seconds()
        self._largest = int(config.max_payload)
        self._inbox = f"{self._client.new_inbox()}."
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[_One | _Batch, int]] = {}

    async def open(self) -> None:
        """Begin to listen for answers."""
        subscription = await self._client.subscribe(f"{self._inbox}*", cb=not_direct)
        self._client.receive(subscription, self._answered)
        self._connection.on_loss(self._lost)

    @property
    def connected(self) -> bool:
        """Whether a message would be sent now."""
        return self._connection.connected

    @property
    def under_way(self) -> int:
        """How many messages are without an acknowledgement."""
        return len(self._waiting)

    async def publish(self, message: Message) -> PublishResult:
        """Publish a message, and return when the stream has stored it.

        Where no acknowledgement comes it is sent again, at most three times, with the same headers: so
        a stream that has stored it says `duplicate`. Each time it waits for a connection first, so
        what is said to have failed is not sent later.

        Raises:
            EventTooLarge: It is larger than the server takes.
            EventsUnavailable: There was no connection for `publish_timeout`, and nothing was sent.
            BusClosed: There will be none.
            StreamUnavailable: No stream answers for the subject.
            StreamFull: The stream takes nothing new.
            PublishRefused: The stream does not want it.
            PublishUnknown: No acknowledgement came: it may be stored.
        """
        if self._connection.connected:
            answer = await self._send_one(message, 1)
            if isinstance(answer, PublishResult):
                return answer
            if not isinstance(answer, _RETRIED):
                raise answer
            return await self._retry(message, answer)
        await self._connection.wait(self._timeout)
        return await self.publish(message)

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = WINDOW
    ) -> list[PublishResult | AppError]:
        """Publish messages, each of them once, in this order; return what became of each.

        One that fails stops no other. When the connection is lost, those without an acknowledgement
        fail at once, and the rest is not sent.

        Args:
            messages: What to publish.
            window: How many may be without an acknowledgement at a time.
        """
        if window < 1:
            raise ValueError(f"window is {window}: at least one message must be under way")
        if not messages:
            return []
        return await self._send_many(messages, window)

    async def _retry(self, message: Message, last: AppError) -> PublishResult:
        for attempt, seconds in zip(range(2, RETRIES + 2), _waits(), strict=False):
            await asyncio.sleep(seconds)
            try:
                await self._connection.wait(self._timeout)
            except AppError as exc:
                raise last from exc  # it was sent before: what is true of that is true still
            answer = await self._send_one(message, attempt)
            if isinstance(answer, PublishResult):
                return answer
            last = answer
            if not isinstance(answer, _RETRIED):
                break
        raise last

    async def _send_one(self, message: Message, attempt: int) -> Answer:
        one = _One(self._timeout, attempt)
        token = ""
        try:
            token = await self._hand_over(message, one, 0)
            return await one.future
        finally:
            one.clock.cancel()
            self._waiting.pop(token, None)

    async def _hand_over(self, message: Message, sender: _One | _Batch, index: int) -> str:
        """Give a message to the client; what comes back goes to `sender`. Return its token."""
        token = f"{next(self._numbers)}"
        try:
            self._connection.check()
            self._check_size(message)
            self._waiting[token] = (sender, index)
            await self._client.publish(
                message.subject,
                message.body,
                reply=self._inbox + token,
                headers=message.headers,  # type: ignore[arg-type]  # it only reads them
            )
        except BaseException as exc:
            self._waiting.pop(token, None)
            if not isinstance(exc, Exception):
                raise
            sender.answered(index, _fault(exc))
        return token

    async def _send_many(self, messages: Sequence[Message], window: int) -> list[Answer]:
        batch = _Batch(len(messages), self._timeout)
        tokens: list[str] = []
        try:
            for index, message in enumerate(messages):
                size = len(message.body)
                while batch.full(window, size):
                    await batch.progress()
                if batch.broken:
                    break
                batch.sent(index, size)
                tokens.append(await self._hand_over(message, batch, index))
            while batch.outstanding:
                await batch.progress()
        finally:
            batch.end()
            for token in tokens:
                self._waiting.pop(token, None)
        return batch.answers()

    def _check_size(self, message: Message) -> None:
        largest = min(self._largest, self._client.max_payload)
        # The server counts the headers too, and closes the connection of who sends more.
        if (
            len(message.body) + _LONG_HEADERS > largest
            and size_of(message.headers, message.body) > largest
        ):
            raise EventTooLarge(
                internal=f"a message of {len(message.body)} bytes, more than {largest}"
            )

    def _answered(self, subject: str, _: str, body: bytes, headers: bytes) -> None:
        waiting = self._waiting.pop(subject[len(self._inbox) :], None)
        if waiting is not None:
            self._connection.heard()
            sender, index = waiting
            sender.answered(index, _read(body, headers, sender.attempt))

    def _lost(self) -> None:
        for sender in {sender for sender, _ in self._waiting.values()}:
            sender.fail("the connection was lost before the acknowledgement came")


class _One:
    """A message that was sent, and what came back.

    Its clock is no `asyncio.timeout`: the client swallows a cancellation in places.
    """

    __slots__ = ("attempt", "clock", "future", "timeout")

    def __init__(self, timeout: float, attempt: int) -> None:
        loop = asyncio.get_running_loop()
        self.attempt = attempt
        self.timeout = timeout
        self.future: asyncio.Future[Answer] = loop.create_future()
        self.clock = loop.call_later(timeout, self._expire)

    def answered(self, index: int, answer: Answer) -> None:
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, why: str) -> None:
        self.answered(0, PublishUnknown(internal=why))

    def _expire(self) -> None:
        self.fail(f"no acknowledgement came for {self.timeout:g} s")


class _Batch:
    """What was sent together, and what came back.

    Its clock runs while something is under way and nothing comes back.
    """

    attempt = 1

    def __init__(self, size: int, timeout: float) -> None:
        self.broken = ""
        self.outstanding = 0
        self._answers: list[Answer | None] = [None] * size
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] | None = None
        self._last = self._loop.time()
        self._clock = self._loop.call_later(timeout, self._tick)

    def full(self, window: int, size: int) -> bool:
        return self.outstanding >= window or (
            self.outstanding > 0 and self._bytes + size > _WINDOW_BYTES
        )

    def sent(self, index: int, size: int) -> None:
        if not self.outstanding:
            self._last = self._loop.time()
        self._sizes[index] = size
        self._bytes += size
        self.outstanding += 1

    def answered(self, index: int, answer: Answer) -> None:
        size = self._sizes.pop(index, None)
        if size is not None:
            self._bytes -= size
            self.outstanding -= 1
        if self._answers[index] is None:
            self._answers[index] = answer
        self._last = self._loop.time()
        self._wake()

    async def progress(self) -> None:
        """Return when something has come back, or will not come any more."""
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def fail(self, why: str) -> None:
        self.broken = why
        for index in list(self._sizes):
            self.answered(index, PublishUnknown(internal=why))

    def end(self) -> None:
        self._clock.cancel()

    def answers(self) -> list[Answer]:
        # What is behind a message that may be lost must not arrive before it.
        why = f"not sent, for one before it: {self.broken}"
        return [answer or EventsUnavailable(internal=why) for answer in self._answers]

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _tick(self) -> None:
        left = self._last + self._timeout - self._loop.time()
        if self.outstanding and left <= 0:
            self.fail(f"no acknowledgement came for {self._timeout:g} s")
        self._clock = self._loop.call_later(max(left, 0.01), self._tick)


def _read(body: bytes, headers: bytes, attempt: int) -> Answer:
    if headers.startswith(_NO_RESPONDERS):
        return StreamUnavailable(internal="no stream takes this subject, or it has no leader now")
    try:
        ack: Any = json.loads(body)
        if (error := ack.get("error")) is not None:
            return refusal(error)
        return PublishResult(ack["stream"], ack["seq"], ack.get("duplicate", False), attempt)
    except (ValueError, KeyError, AttributeError, TypeError):
        return PublishUnknown(
            internal="the answer is no acknowledgement: who listens to this subject?"
        )


def _fault(exc: Exception) -> AppError:
    if isinstance(exc, AppError):
        return exc
    error = translated(exc) or from_exception(exc)
    error.__cause__ = exc
    return error


def _waits() -> Iterator[float]:
    longest = backoff.expo(factor=0.25, max_value=1.0)
    with suppress(StopIteration):
        next(longest)  # a generator of that library begins with nothing
    return (seconds / 2 + backoff.full_jitter(seconds / 2) for seconds in longest)
