"""A row of the outbox, as a relay takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """An event that waits.

    Attributes:
        place: Where the row lies; good for this batch only.
        id: Its number: rows of one tenant and key are published in the order of their ids.
        tenant: Whose event it is.
        key: What it is ordered by.
        subject: What it is published to.
        headers: Of the message.
        body: Of the message.
        attempts: How often publishing it has failed.
    """

    place: str
    id: int
    tenant: str
    key: str
    subject: str
    headers: Mapping[str, str]
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be published.

    Attributes:
        row: Which.
        error: Why, for people.
        seconds: How long it waits now, and every later row of its key with it.
    """

    row: Row
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What a relay has taken, in the order of the ids. It is the relay's until the batch is ended.

    Attributes:
        rows: The rows.
        more: Whether others wait that this batch did not take; another relay may be at work on them.
        lag: The age of the oldest row that waits, in seconds; 0.0 if none does.
    """

    rows: tuple[Row, ...]
    more: bool
    lag: float
