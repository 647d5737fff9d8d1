"""The forecast: what is open times its probability, and what is won."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from deal_service.domain.money import weighted

By = Literal["month", "owner", "stage"]


@dataclass(frozen=True)
class Group:
    """Deals that are due in one month, of one owner, in one stage, as far as they were told apart.

    What is won counts whole, what is lost does not count.

    Attributes:
        month: `YYYY-MM`, of the day a won deal was closed or an open one is expected to be; None where
            months are not told apart, and for what has no such day.
        owner_id: The same of owners.
        pipeline_id: The same of stages.
        stage: Its key.
        currency: Of the amounts: nothing is ever summed over two.
        open_deals: How many are open.
        open_minor: What they are worth.
        won_deals: How many are won.
        won_minor: What they were worth.
        hundredths: The exact sum of amounts times percents, of both.
    """

    month: str | None
    owner_id: str | None
    pipeline_id: UUID | None
    stage: str | None
    currency: str
    open_deals: int
    open_minor: int
    won_deals: int
    won_minor: int
    hundredths: int

    @property
    def weighted_minor(self) -> int:
        """What to expect, rounded once; a half to the even."""
        return weighted(self.hundredths)
