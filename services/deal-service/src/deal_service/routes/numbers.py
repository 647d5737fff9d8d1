"""Routes of the numbers: forecast and analytics."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from deal_service.domain.analytics import AGES, rate
from deal_service.domain.forecast import By
from deal_service.domain.text import Day, Owner
from deal_service.handlers.numbers import Numbers, check_period, numbers
from deal_service.queries import forecast
from mtenant_chassis import Router, Tenant, raises, requires


class ForecastItem(BaseModel):
    """What to expect in a currency, of one month, owner and stage as far as they are told apart."""

    month: str | None = Field(description="YYYY-MM; null for deals without an expected date")
    owner_id: str | None
    pipeline_id: UUID | None
    stage: str | None
    currency: str
    open_deals: int
    open_minor: int
    won_deals: int
    won_minor: int
    weighted_minor: int = Field(
        description="open deals times their probabilities, and won ones whole; rounded once"
    )


class Forecast(BaseModel):
    """What to expect."""

    by: list[By]
    items: list[ForecastItem]


class CurrencyNumbers(BaseModel):
    """How it went in a currency."""

    currency: str
    won_deals: int
    won_minor: int
    lost_deals: int
    lost_minor: int
    win_rate: float | None = Field(description="won of won and lost; null if nothing was closed")
    average_won_minor: int | None
    average_days: float | None = Field(description="from the beginning of a deal until it was won")
    open_deals: int = Field(description="now")
    velocity_minor: int | None = Field(
        description="to expect a day: open deals x win rate x average amount / average days"
    )


class StageNumbers(BaseModel):
    """For how long deals were in a stage that they left, of all owners."""

    pipeline_id: UUID
    stage: str
    visits: int
    average_days: float


class AgeNumbers(BaseModel):
    """Open deals of an age."""

    currency: str
    from_days: int
    to_days: int | None = Field(description="null for the oldest")
    deals: int
    amount_minor: int


class LostNumbers(BaseModel):
    """Deals that were lost for a reason."""

    lost_reason: str
    deals: int


class Analytics(BaseModel):
    """How it went in a period, by the calendar of UTC."""

    first: date
    last: date
    created_deals: int
    won_deals: int
    lost_deals: int
    win_rate: float | None
    currencies: list[CurrencyNumbers]
    lost_reasons: list[LostNumbers]
    stages: list[StageNumbers]
    ageing: list[AgeNumbers] = Field(description="of what is open now, by its age in days")

    @classmethod
    def of(cls, found: Numbers) -> Analytics:
        """Return what is told of it."""
        won = sum(one.won_deals for one in found.closed)
        lost = sum(one.lost_deals for one in found.closed)
        return cls(
            first=found.first,
            last=found.last,
            created_deals=found.created,
            won_deals=won,
            lost_deals=lost,
            win_rate=rate(won, lost),
            currencies=_currencies(found),
            lost_reasons=[
                LostNumbers(lost_reason=one.lost_reason, deals=one.deals) for one in found.lost
            ],
            stages=[
                StageNumbers(
                    pipeline_id=one.pipeline_id,
                    stage=one.stage,
                    visits=one.visits,
                    average_days=round(one.seconds / one.visits / 86400, 2),
                )
                for one in found.stayed
            ],
            ageing=[
                AgeNumbers(
                    currency=one.currency,
                    from_days=one.from_days,
                    to_days=_LAST_DAY[one.from_days],
                    deals=one.deals,
                    amount_minor=one.amount_minor,
                )
                for one in found.aged
            ],
        )


_LAST_DAY = dict(zip(AGES, (*(first - 1 for first in AGES[1:]), None), strict=True))


def _currencies(found: Numbers) -> list[CurrencyNumbers]:
    shown = []
    for one in found.closed:
        opportunities = sum(aged.deals for aged in found.aged if aged.currency == one.currency)
        shown.append(
            CurrencyNumbers(
                currency=one.currency,
                won_deals=one.won_deals,
                won_minor=one.won_minor,
                lost_deals=one.lost_deals,
                lost_minor=one.lost_minor,
                win_rate=one.win_rate,
                average_won_minor=one.average_won_minor,
                average_days=one.average_days,
                open_deals=opportunities,
                velocity_minor=one.velocity_minor(opportunities),
            )
        )
    return shown


def numbers_router() -> Router:
    """Return the routes of numbers."""
    router = Router(prefix="/api/deals", tags=["numbers"])

    @router.get("/forecast", dependencies=[requires("deals:read")], responses=raises(422))
    async def get_forecast(
        *,
        tenant: Tenant,
        by: Annotated[list[By], Query(max_length=3)] = ["month"],  # noqa: B006 - FastAPI copies it
        first: Annotated[Day | None, Query(description="deals due on this day or later")] = None,
        last: Annotated[Day | None, Query(description="or on this day or earlier")] = None,
        pipeline_id: UUID | None = None,
        owner_id: Annotated[Owner | None, Query()] = None,
    ) -> Forecast:
        """Return what to expect by month, owner and stage, always by currency.

        An open deal is due on its expected date and counts by its probability; a won one on the day it was
        closed, and whole; a lost one does not count. With `first` or `last`, deals without a date do not count.
        """
        if first is not None and last is not None:
            check_period(first, last)
        which = forecast.Filter(first=first, last=last, pipeline_id=pipeline_id, owner_id=owner_id)
        found = await forecast.groups(tenant, which, by)
        items = [
            ForecastItem(**{name: getattr(one, name) for name in ForecastItem.model_fields})
            for one in found
        ]
        return Forecast(by=sorted(set(by)), items=items)

    @router.get("/analytics", dependencies=[requires("deals:read")], responses=raises(422))
    async def get_analytics(
        *,
        tenant: Tenant,
        first: Annotated[Day | None, Query(description="90 days until the last without it")] = None,
        last: Annotated[Day | None, Query(description="today without it")] = None,
        pipeline_id: UUID | None = None,
        owner_id: Annotated[Owner | None, Query()] = None,
    ) -> Analytics:
        """Return what was won and lost and why, how fast, and how old what is open is."""
        found = await numbers(
            tenant, first=first, last=last, pipeline_id=pipeline_id, owner_id=owner_id
        )
        return Analytics.of(found)

    return router
