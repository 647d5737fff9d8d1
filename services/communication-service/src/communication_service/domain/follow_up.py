"""What follows when a deal is won: mails, each some time after the one before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final


@dataclass(frozen=True)
class Step:
    """A mail of the sequence.

    Attributes:
        template: The key of its template; a tenant that has archived it sends none.
        after: How long after the deal was won.
    """

    template: str
    after: timedelta


FOLLOW_UP: Final = (
    Step("deal-won-thanks", timedelta(0)),
    Step("deal-won-check-in", timedelta(days=7)),
)

WELCOME: Final = "welcome"
REMINDER: Final = "task-reminder"
