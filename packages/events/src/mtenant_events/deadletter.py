"""Dead letters: messages that a consumer has given up, kept whole, and what can be done with them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from mtenant_errors import NotFound
from mtenant_events.abc import Transport
from mtenant_events.codec import EXPECTED_STREAM, MESSAGE_ID, size_of
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.abc import Delivery
from mtenant_events.consumer.outcome import Dead
from mtenant_events.consumer.replayed import (
    ATTEMPTS,
    ENDS,
    LETTER,
    baseline,
    event_subject,
    replay_subject,
)
from mtenant_events.event import Message, PublishResult
from mtenant_events.tenant_id import check_tenant_id

CONSUMER: Final = "Dlq-Consumer"
REASON: Final = "Dlq-Reason"
ERROR: Final = "Dlq-Error"
SUBJECT: Final = "Dlq-Subject"
SEQUENCE: Final = "Dlq-Sequence"
DELIVERIES: Final = "Dlq-Deliveries"
LETTER_ATTEMPTS: Final = "Dlq-Attempts"
TOTAL_ATTEMPTS: Final = "Dlq-Total-Attempts"
TOTAL_ENDS: Final = "Dlq-Total-Ends"
TIME: Final = "Dlq-Time"
BODY: Final = "Dlq-Body"

_OURS: Final = ("dlq-", "replay-")
_SERVERS: Final = "nats-"
_KEPT: Final = "Dlq-Original-"
_LEFT: Final = "left in the stream"
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_CONSUMER: Final = re.compile(r"[a-z0-9_]{1,200}")


def letter_of(delivery: Delivery, dead: Dead, consumer: str, config: EventsConfig) -> Message:
    """Return the dead letter of a message: the message itself, and why it is one.

    Headers that tell a server what to do (`Nats-Rollup` empties a subject) are kept under another name.
    The letter's id is that of the delivery, so that it is stored once, however often it is tried.

    Args:
        delivery: The message.
        dead: Why.
        consumer: Who has given it up.
        config: Prefix of the subjects, stream of dead letters, largest message.
    """
    subject = event_subject(config.prefix, delivery.subject)
    before = baseline(delivery.headers)
    headers = {
        MESSAGE_ID: f"dlq:{consumer}:{delivery.sequence}",
        EXPECTED_STREAM: config.dead_letter_stream,
        CONSUMER: consumer,
        REASON: dead.reason,
        ERROR: _header(dead.error),
        SUBJECT: _header(subject),
        SEQUENCE: str(delivery.sequence),
        DELIVERIES: str(delivery.count),
        LETTER_ATTEMPTS: str(dead.attempts),
        TOTAL_ATTEMPTS: str(before.attempts + dead.attempts),
        TOTAL_ENDS: str(before.known_ends + dead.ends),
        TIME: datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
    }
    for name, value in delivery.headers.items():
        if name.lower().startswith(_SERVERS):
            headers[_KEPT + name] = value
        elif not name.lower().startswith(_OURS):
            headers[name] = value
    target = letter_subject(config.prefix, consumer, subject)
    if size_of(headers, delivery.body) > config.max_payload:
        # With what is told of it, it is larger than the stream takes. The events' stream has it still.
        return Message(target, {**headers, BODY: _LEFT}, b"")
    return Message(target, headers, delivery.body)


def letter_subject(prefix: str, consumer: str, subject: str) -> str:
    """Return the subject of a dead letter; a word that nobody could ask for becomes `_`.

    >>> letter_subject("crm", "mail__send", "crm.evt.acme.deal.closed_won.3")
    'crm.dlq.mail__send.acme.deal.closed_won.3'
    >>> letter_subject("crm", "mail__send", "crm.evt.M\u00fcller.deal.closed_won.3")
    'crm.dlq.mail__send._.deal.closed_won.3'
    """
    words = subject[len(prefix) + 5 :].split(".")
    return ".".join(
        [prefix, "dlq", consumer, *(word if _WORD.fullmatch(word) else "_" for word in words)]
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is stored.

    Attributes:
        id: Its place in the stream of dead letters.
        headers: All of its headers.
        body: The message's payload, empty if it was too large.
        stored_subject: Where the letter is.
    """

    id: int
    stored_subject: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def consumer(self) -> str:
        """Who has given it up."""
        return self.headers.get(CONSUMER, "")

    @property
    def reason(self) -> str:
        """Why: a name."""
        return self.headers.get(REASON, "")

    @property
    def error(self) -> str:
        """Why, for people; it may quote what a handler was told."""
        return self.headers.get(ERROR, "")

    @property
    def subject(self) -> str:
        """What the message was published to."""
        return self.headers.get(SUBJECT, "")

    @property
    def sequence(self) -> int:
        """Its place in the events' stream."""
        return _number(self.headers.get(SEQUENCE))

    @property
    def attempts(self) -> int:
        """How often the handler raised, since a replay if there was one."""
        return _number(self.headers.get(LETTER_ATTEMPTS))

    @property
    def time(self) -> str:
        """When it was given up, RFC 3339."""
        return self.headers.get(TIME, "")

    @property
    def tenant(self) -> str:
        """Whose it is, by its subject."""
        return self.stored_subject.rsplit(".", 4)[-4:][0]

    @property
    def type(self) -> str:
        """The type of the event, by its subject."""
        return ".".join(self.stored_subject.split(".")[-3:-1])

    @property
    def body_left(self) -> bool:
        """Whether the body was too large, and is in the events' stream only."""
        return self.headers.get(BODY) == _LEFT

    @property
    def original_headers(self) -> dict[str, str]:
        """The headers that the message had."""
        original = {}
        for name, value in self.headers.items():
            if name.startswith(_KEPT):
                original[name.removeprefix(_KEPT)] = value
            elif not name.lower().startswith((*_OURS, _SERVERS)):
                original[name] = value
        return original


def replay_of(letter: DeadLetter, config: EventsConfig, *, body: bytes | None = None) -> Message:
    """Return the message by which a letter reaches its consumer again, and no other.

    Its attempts begin anew. Its id is the letter's: a replay that is tried twice is stored once.

    Args:
        letter: The letter.
        config: Prefix of the subjects, and the events' stream.
        body: Instead of the letter's.
    """
    headers = {
        name: value
        for name, value in letter.original_headers.items()
        if not name.lower().startswith(_SERVERS)
    }
    headers |= {
        MESSAGE_ID: f"replay:{letter.consumer}:{letter.id}",
        EXPECTED_STREAM: config.stream,
        LETTER: str(letter.id),
        ATTEMPTS: letter.headers.get(TOTAL_ATTEMPTS, "0"),
        ENDS: letter.headers.get(TOTAL_ENDS, "0"),
    }
    subject = replay_subject(config.prefix, letter.consumer, letter.subject)
    return Message(subject, headers, letter.body if body is None else body)


class LetterNotFound(NotFound):
    """There is no such dead letter."""

    code, message = "DEAD_LETTER_NOT_FOUND", "there is no such dead letter"


class LetterStore(Protocol):
    """Where dead letters are: a stream of NATS, or one in memory."""

    async def next_letter(self, after: int, subject: str) -> DeadLetter | None:
        """Return the first letter behind a place, of subjects like this one."""

    async def letter(self, id_: int) -> DeadLetter | None:
        """Return one letter; None if it is gone."""

    async def body_of(self, sequence: int) -> bytes | None:
        """Return the body of a message of the events' stream; None if it is gone."""

    async def delete(self, id_: int) -> bool:
        """Delete a letter; tell whether it was there."""


class DeadLetters:
    """Looks at dead letters, replays them, drops them.

    Args:
        store: Where they are.
        transport: Publishes what is replayed.
        config: The settings of the bus.
    """

    def __init__(self, store: LetterStore, transport: Transport, config: EventsConfig) -> None:
        self._store = store
        self._transport = transport
        self._config = config

    async def find(
        self, *, consumer: str | None = None, tenant: str | None = None, after: int = 0
    ) -> AsyncIterator[DeadLetter]:
        """Yield letters in the order in which they were written.

        Args:
            consumer: Of this consumer only.
            tenant: Of this tenant only.
            after: Only those behind this id.

        Raises:
            InvalidTenantId: `tenant` is no tenant's id.
            ValueError: `consumer` is no consumer's name.
        """
        if consumer is not None and not _CONSUMER.fullmatch(consumer):
            raise ValueError(f"{consumer!r:.100} is no consumer: `<service>__<handler>`")
        whose = "*" if tenant is None else check_tenant_id(tenant)
        subject = f"{self._config.prefix}.dlq.{consumer or '*'}.{whose}.>"
        while (letter := await self._store.next_letter(after, subject)) is not None:
            yield letter
            after = letter.id

    async def show(self, id_: int) -> DeadLetter:
        """Return a letter.

        Raises:
            LetterNotFound: There is none of this id.
        """
        letter = await self._store.letter(id_)
        if letter is None:
            raise LetterNotFound(internal=f"no dead letter {id_}")
        return letter

    async def replay(self, id_: int) -> PublishResult:
        """Send a letter to the consumer that had given it up, and to no other; then drop it.

        Its attempts begin anew. If it fails again, it becomes another letter. One who is interrupted
        between the two may replay it again within the duplicate window.

        Raises:
            LetterNotFound: There is none of this id, or its body is in the events' stream no more.
            AppError: It could not be published; the letter is still there.
        """
        letter = await self.show(id_)
        body = None
        if letter.body_left:
            body = await self._store.body_of(letter.sequence)
            if body is None:
                raise LetterNotFound(
                    internal=f"the body of {id_} was too large for a letter, and is gone"
                )
        result = await self._transport.publish(replay_of(letter, self._config, body=body))
        await self._store.delete(id_)
        return result

    async def drop(self, id_: int) -> None:
        """Delete a letter for good.

        Raises:
            LetterNotFound: There is none of this id.
        """
        if not await self._store.delete(id_):
            raise LetterNotFound(internal=f"no dead letter {id_}")


def _header(text: Any) -> str:
    # A line of its own, in characters that every client reads.
    return str(text).encode("ascii", "backslashreplace").decode().translate(_CONTROL).strip()


_CONTROL: Final = dict.fromkeys((*range(32), 127), " ")


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
