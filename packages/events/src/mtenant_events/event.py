"""An event, and what it becomes on its way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID

from mtenant_events.tenant_id import check_tenant_id
from mtenant_events.uuid7 import uuid7

if TYPE_CHECKING:
    from mtenant_events.registry import Registry

T = TypeVar("T")
Key = str | int | UUID
"""What events are ordered by: those of one tenant and key stay in order."""

LONGEST_TEXT: Final = 512
"""Characters of an id, a source, an actor, a subject at most: they become headers and index entries."""

_OPTIONAL: Final = ("actor", "subject", "correlation_id", "causation_id")
_TEXTS: Final = ("id", "source", *_OPTIONAL)
_WORD: Final = r"[a-z][a-z0-9_]{0,63}"
_TYPE: Final = re.compile(rf"{_WORD}\.{_WORD}")
# CloudEvents 1.0.2, type system, String: no control characters, no half of a surrogate pair, no
# code point that Unicode will never assign.
_NO_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)  # no slots: `Event[X](...)` fails with them on 3.11
class Event(Generic[T]):
    """Something that has happened to a tenant.

    Attributes:
        type: What: an entity and what happened to it, such as `deal.closed_won`.
        source: Where: the program that tells of it, a URI reference such as `/deal-service`.
        tenant: To whom.
        data: The payload: of a class with a name (`event_type`), or a mapping of JSON values.
        id: Its identity among the tenant's events, a UUID of version 7 by default.
        timestamp: When it happened, with a time zone; now by default. It is kept in UTC.
        actor: The user who did it.
        subject: What it happened to, such as the deal's id; events of one subject stay in order.
        correlation_id: The same for everything that one request or event has led to.
        causation_id: The id of the event that led to this one.

    Raises:
        InvalidTenantId: `tenant` breaks its grammar.
        ValueError: Another attribute breaks its rule.
        TypeError: `timestamp` is no datetime.

    >>> event = Event(type="deal.closed_won", source="/deals", tenant="acme", data={"amount": 7})
    >>> event.type, event.tenant, event.data["amount"]
    ('deal.closed_won', 'acme', 7)
    """

    type: str
    source: str
    tenant: str
    data: T
    id: str = field(default_factory=uuid7)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    actor: str | None = None
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None

    def __post_init__(self) -> None:
        check_tenant_id(self.tenant)
        check_type(self.type)
        for name in _TEXTS:
            value = getattr(self, name)
            # Nearly every one is as plain as this: what is not is looked at closely.
            if type(value) is str and 0 < len(value) <= LONGEST_TEXT and value.isprintable():
                continue
            if value is not None or name not in _OPTIONAL:
                check_text(name, value)
        if not isinstance(self.timestamp, datetime):
            raise TypeError("timestamp must be a datetime")
        if self.timestamp.tzinfo is not UTC:
            object.__setattr__(self, "timestamp", _in_utc(self.timestamp))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values under plain names: `tenant_id` and `organization_id` are the tenant.

        Raises:
            TypeError, ValueError: Its data is no JSON.
        """
        from mtenant_events.codec import event_to_dict  # noqa: PLC0415 - it imports this module

        return event_to_dict(self)

    @classmethod
    def from_dict(cls, members: Mapping[str, Any], registry: Registry | None = None) -> Event[Any]:
        """Return the event of what `to_dict` has made; one of the two names of the tenant is enough.

        Args:
            members: The values. Members that an event does not have are left out.
            registry: Knows the classes of payloads; without it data stays what it is.

        Raises:
            BadMessage: A member is missing, or breaks its rule; `reason` says which.
        """
        from mtenant_events.codec import event_from_dict  # noqa: PLC0415 - it imports this module
        from mtenant_events.registry import Registry  # noqa: PLC0415 - the same

        return event_from_dict(members, registry or Registry())


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: an event in the form that the stream keeps.

    Attributes:
        subject: Where it is published.
        headers: Its headers, `Nats-Msg-Id` among them.
        body: Its payload.
    """

    subject: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The stream's acknowledgement.

    Attributes:
        stream: The stream that stored it.
        sequence: Its place there.
        duplicate: Whether it was there before: the stream remembers ids for its duplicate window.
        attempts: How often it was sent.
    """

    stream: str
    sequence: int
    duplicate: bool
    attempts: int


def check_type(name: Any) -> str:
    """Return the type's name as it is.

    Raises:
        ValueError: It is not two words of `[a-z][a-z0-9_]{0,63}` with a dot between them.
    """
    if not isinstance(name, str) or _TYPE.fullmatch(name) is None:
        raise ValueError(
            f"{name!r:.200} is no event type: write an entity and what happened to it,"
            " such as 'deal.closed_won'"
        )
    return name


def _in_utc(timestamp: datetime) -> datetime:
    if timestamp.utcoffset() is None:
        raise ValueError("timestamp has no time zone: use datetime.now(UTC)")
    try:
        return timestamp.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("timestamp is outside of the years that there are") from exc


def check_text(name: str, value: Any) -> None:
    """Return if it is a text that may be an attribute.

    Raises:
        ValueError: It is none, empty, too long, or has control characters.
    """
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= LONGEST_TEXT
        # What can be printed has none of them; that is known without a search.
        or (not value.isprintable() and _NO_TEXT.search(value) is not None)
    ):
        raise ValueError(
            f"{name} must be a text of 1 to {LONGEST_TEXT} characters without control characters"
        )
