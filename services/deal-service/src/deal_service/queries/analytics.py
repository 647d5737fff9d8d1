"""SQL of the numbers of a period: what was closed and why, how old is what is open."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from deal_service.domain.analytics import AGES, Aged, Closed, Lost, Stayed
from mtenant_database import Verbs

_OF: Final = (
    " and (%(pipeline_id)s::uuid is null or d.pipeline_id = %(pipeline_id)s)"
    " and (%(owner_id)s::text is null or d.owner_id = %(owner_id)s)"
)
_CLOSED: Final = (
    "select d.currency, count(*) filter (where d.status = 'won') as won_deals,"
    " coalesce(sum(d.amount_minor) filter (where d.status = 'won'), 0) as won_minor,"
    " count(*) filter (where d.status = 'lost') as lost_deals,"
    " coalesce(sum(d.amount_minor) filter (where d.status = 'lost'), 0) as lost_minor,"
    " coalesce(sum(extract(epoch from d.closed_at - d.created_at)) filter (where d.status = 'won'), 0)"
    " as won_seconds from deals d where d.deleted_at is null and d.closed_at is not null"
    " and d.closed_at >= %(begin)s and d.closed_at < %(end)s"
    + _OF
    + " group by d.currency order by d.currency"
)
_LOST: Final = (
    "select r.key as lost_reason, lost.deals from (select d.lost_reason_id, count(*) as deals"
    " from deals d where d.deleted_at is null and d.closed_at is not null and d.status = 'lost'"
    " and d.closed_at >= %(begin)s and d.closed_at < %(end)s"
    + _OF
    + " group by d.lost_reason_id) lost join lost_reasons r on r.id = lost.lost_reason_id"
    " order by lost.deals desc, r.key"
)
_CREATED: Final = (
    "select count(*) from deals d where d.deleted_at is null and d.created_at >= %(begin)s"
    " and d.created_at < %(end)s" + _OF
)
_AGED: Final = (
    "select d.currency, width_bucket(extract(epoch from clock_timestamp() - d.created_at)::float8"
    " / 86400, %(ages)s::float8[]) as bucket, count(*) as deals, sum(d.amount_minor) as amount_minor"
    " from deals d where d.deleted_at is null and d.status = 'open'"
    + _OF
    + " group by 1, 2 order by 1, 2"
)
_STAYED: Final = (
    "select v.pipeline_id, v.stage, count(*) as visits,"
    " sum(extract(epoch from v.left_at - v.entered_at))::float8 as seconds from deal_visits v"
    " where v.left_at is not null and v.left_at >= %(begin)s and v.left_at < %(end)s"
    " and (%(pipeline_id)s::uuid is null or v.pipeline_id = %(pipeline_id)s)"
    # Not as a join with the others: those that were deleted are few, and have an index.
    " and not exists (select from deals d where d.id = v.deal_id and d.deleted_at is not null)"
    " group by v.pipeline_id, v.stage order by v.pipeline_id, v.stage"
)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which deals, and when.

    Attributes:
        begin: Of the period.
        end: Of the period; it belongs to it no more.
        pipeline_id: Those of a pipeline; None for all.
        owner_id: Those of a user; None for all.
    """

    begin: datetime
    end: datetime
    pipeline_id: UUID | None = None
    owner_id: str | None = None


async def closed(on: Verbs, which: Filter) -> list[Closed]:
    """Return what was won and lost, by currency."""
    return [
        Closed(currency, won, int(won_minor), lost, int(lost_minor), seconds)
        for currency, won, won_minor, lost, lost_minor, seconds in await on.fetch_all(
            _CLOSED, asdict(which)
        )
    ]


async def lost(on: Verbs, which: Filter) -> Sequence[Lost]:
    """Return why deals were lost, the most frequent reason first."""
    return await on.fetch_all(_LOST, asdict(which), row=Lost)


async def created(on: Verbs, which: Filter) -> int:
    """Return how many deals began."""
    return int(await on.fetch_value(_CREATED, asdict(which)))


async def aged(on: Verbs, which: Filter) -> list[Aged]:
    """Return how old what is open now is, by currency."""
    params: dict[str, Any] = {**asdict(which), "ages": list(AGES)}
    return [
        Aged(currency, AGES[bucket - 1], deals, int(amount))
        for currency, bucket, deals, amount in await on.fetch_all(_AGED, params)
    ]


async def stayed(on: Verbs, which: Filter) -> Sequence[Stayed]:
    """Return for how long deals stayed in stages that they left; of all owners."""
    return await on.fetch_all(_STAYED, asdict(which), row=Stayed)
