"""The numbers of a tenant: its forecast, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from deal_service.domain.analytics import Aged, Closed, Lost, Stayed
from deal_service.domain.errors import PeriodInvalid
from deal_service.queries import analytics
from mtenant_database import Tenant

USUAL_DAYS: Final = 90
"""Days of a period without a beginning."""

MOST_DAYS: Final = 3660
"""Days of a period, at most."""


@dataclass(frozen=True)
class Numbers:
    """How it went.

    Attributes:
        first: The first day of the period.
        last: Its last day.
        created: How many deals began in it.
        closed: What was closed in it, by currency.
        lost: Why deals were lost in it.
        stayed: For how long deals were in the stages that they left in it.
        aged: How old what is open now is.
    """

    first: date
    last: date
    created: int
    closed: Sequence[Closed]
    lost: Sequence[Lost]
    stayed: Sequence[Stayed]
    aged: Sequence[Aged]


async def numbers(
    tenant: Tenant,
    *,
    first: date | None,
    last: date | None,
    pipeline_id: UUID | None,
    owner_id: str | None,
) -> Numbers:
    """Return how it went from one day to another, by the calendar of UTC, all as of one moment.

    Raises:
        PeriodInvalid: The period ends before it begins, or is too long.
    """
    last = datetime.now(UTC).date() if last is None else last
    first = max(last, _EARLIEST) - timedelta(days=USUAL_DAYS - 1) if first is None else first
    check_period(first, last)
    which = analytics.Filter(
        begin=datetime.combine(first, time.min, UTC),
        end=datetime.combine(last, time.min, UTC) + timedelta(days=1),
        pipeline_id=pipeline_id,
        owner_id=owner_id,
    )
    async with tenant.transaction(isolation="repeatable read", read_only=True) as tx:
        return Numbers(
            first,
            last,
            await analytics.created(tx, which),
            await analytics.closed(tx, which),
            await analytics.lost(tx, which),
            await analytics.stayed(tx, which),
            await analytics.aged(tx, which),
        )


_EARLIEST: Final = date(1900, 1, 1)


def check_period(first: date, last: date) -> None:
    """Let a period be one.

    Raises:
        PeriodInvalid: It ends before it begins, is too long, or is at the end of the calendar.
    """
    if first > last:
        raise PeriodInvalid(why="the period ends before it begins")
    if (last - first).days >= MOST_DAYS:
        raise PeriodInvalid(why=f"a period has at most {MOST_DAYS} days")
    if last >= date.max:
        raise PeriodInvalid(why="the period ends where the calendar does")
