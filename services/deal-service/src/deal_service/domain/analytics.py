"""The numbers of a period: win rate, velocity, ageing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from deal_service.domain.money import rounded

AGES: Final = (0, 31, 61, 91)
"""Days from which a deal belongs to the next age."""

_DAY: Final = 86400


@dataclass(frozen=True)
class Closed:
    """What was closed in a currency.

    Attributes:
        currency: Of the amounts.
        won_deals: How many were won.
        won_minor: What they were worth.
        lost_deals: How many were lost.
        lost_minor: What they would have been worth.
        won_seconds: How long the won ones took from their beginning, together.
    """

    currency: str
    won_deals: int
    won_minor: int
    lost_deals: int
    lost_minor: int
    won_seconds: Decimal

    @property
    def win_rate(self) -> float | None:
        """Of what was closed, how much was won; None if nothing was."""
        return rate(self.won_deals, self.lost_deals)

    @property
    def average_won_minor(self) -> int | None:
        """What a won deal was worth on average; a half goes to the even."""
        if not self.won_deals:
            return None
        return rounded(Fraction(self.won_minor, self.won_deals))

    @property
    def average_days(self) -> float | None:
        """How many days a won deal took on average."""
        if not self.won_deals:
            return None
        return round(float(Fraction(self.won_seconds) / self.won_deals / _DAY), 2)

    def velocity_minor(self, opportunities: int) -> int | None:
        """What is to be expected a day: opportunities x win rate x average deal / average days.

        Args:
            opportunities: How many deals are open.

        Returns:
            None if nothing was won, so that nobody knows.
        """
        if not self.won_deals or not self.won_seconds:
            return None
        share = Fraction(self.won_deals, self.won_deals + self.lost_deals)
        average = Fraction(self.won_minor, self.won_deals)
        days = Fraction(self.won_seconds) / self.won_deals / _DAY
        return rounded(opportunities * share * average / days)


@dataclass(frozen=True)
class Lost:
    """A reason, and how many deals were lost for it."""

    lost_reason: str
    deals: int


@dataclass(frozen=True)
class Aged:
    """Open deals of an age in a currency.

    Attributes:
        currency: Of the amount.
        from_days: From how many days on; up to the next of `AGES`.
        deals: How many.
        amount_minor: What they are worth.
    """

    currency: str
    from_days: int
    deals: int
    amount_minor: int


@dataclass(frozen=True)
class Stayed:
    """Deals that left a stage, and how long they had been there, together."""

    pipeline_id: UUID
    stage: str
    visits: int
    seconds: float


def rate(won: int, lost: int) -> float | None:
    """Return how much of what was closed was won, to four digits; None if nothing was closed.

    >>> rate(1, 2), rate(0, 0)
    (0.3333, None)
    """
    return round(won / (won + lost), 4) if won + lost else None
