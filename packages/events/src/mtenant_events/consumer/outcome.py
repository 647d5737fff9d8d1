"""What a handler raises to say what becomes of its event, and what becomes of it then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


class Retry(Exception):
    """Deliver the event again, later; it counts as no attempt. The transaction is rolled back.

    Args:
        after: Seconds, or a timedelta.

    Raises:
        ValueError: `after` is negative.
    """

    def __init__(self, after: float | timedelta) -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else float(after)
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"after must be 0 or more seconds, got {seconds:g}")
        super().__init__(f"again after {seconds:g} s")
        self.after = seconds


class Permanent(Exception):
    """No retry would help: dead-letter the event at once. The transaction is rolled back.

    Args:
        reason: Why, for the person who looks at the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Skip(Exception):
    """There is nothing to do about this event: acknowledge it. The transaction is rolled back."""


class HandlerTimeout(Exception):
    """A handler took longer than its time limit and was cancelled; it counts as an attempt."""


@dataclass(frozen=True, slots=True)
class Done:
    """The event is handled, or was before: acknowledge it."""

    what: str = "handled"


@dataclass(frozen=True, slots=True)
class Again:
    """Deliver it again after some seconds."""

    after: float
    why: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Dead-letter it.

    Attributes:
        reason: A name, good for counting: that of a bad message, or one of the three below.
        error: More, for people.
        attempts: How often the handler raised.
        ends: How many deliveries had an end that is known.
    """

    reason: str
    error: str
    attempts: int = 0
    ends: int = 0


Outcome = Done | Again | Dead

HANDLED = Done()
"""The handler has returned."""

FAILED = "attempts_exhausted"
"""The handler has raised as often as it may."""

PERMANENT = "permanent"
"""The handler has said that no retry would help."""

POISON = "poison"
"""Many deliveries ended without a word: the event seems to take the process with it."""
