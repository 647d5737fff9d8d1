"""SQL of the forecast: sums of whole numbers, which nothing rounds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import date
from typing import Final
from uuid import UUID

from deal_service.domain.forecast import By, Group
from mtenant_database import Verbs

_SUMS: Final = (
    "with sums as (select case when %(by_month)s then to_char(due_on, 'YYYY-MM') end as month,"
    " case when %(by_owner)s then owner_id end as owner_id,"
    " case when %(by_stage)s then stage_id end as stage_id, currency,"
    " count(*) filter (where status = 'open') as open_deals,"
    " coalesce(sum(amount_minor) filter (where status = 'open'), 0) as open_amount,"
    " count(*) filter (where status = 'won') as won_deals,"
    " coalesce(sum(amount_minor) filter (where status = 'won'), 0) as won_amount,"
    " sum(amount_minor * probability) as weighted from deals"
    " where deleted_at is null and status <> 'lost'"
    " and (%(first)s::date is null or due_on >= %(first)s)"
    " and (%(last)s::date is null or due_on <= %(last)s)"
    " and (%(pipeline_id)s::uuid is null or pipeline_id = %(pipeline_id)s)"
    " and (%(owner_id)s::text is null or owner_id = %(owner_id)s)"
    " group by 1, 2, 3, 4)"
    " select month, owner_id, s.pipeline_id, s.key as stage, currency, open_deals, open_amount,"
    " won_deals, won_amount, weighted from sums left join stages s on s.id = sums.stage_id"
    " order by month nulls last, owner_id nulls last, s.pipeline_id, s.position, currency"
)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which deals; None is no condition.

    Attributes:
        first: Those that are due on this day or later.
        last: Or on this day or earlier.
        pipeline_id: Those of a pipeline.
        owner_id: Those of a user.
    """

    first: date | None = None
    last: date | None = None
    pipeline_id: UUID | None = None
    owner_id: str | None = None


async def groups(on: Verbs, which: Filter, by: Collection[By]) -> list[Group]:
    """Return the sums of what is open and won, always by currency."""
    params = {
        **asdict(which),
        "by_month": "month" in by,
        "by_owner": "owner" in by,
        "by_stage": "stage" in by,
    }
    return [
        Group(
            month=month,
            owner_id=owner,
            pipeline_id=pipeline,
            stage=stage,
            currency=currency,
            open_deals=open_deals,
            open_minor=int(open_amount),
            won_deals=won_deals,
            won_minor=int(won_amount),
            hundredths=int(weighted),
        )
        for (
            month,
            owner,
            pipeline,
            stage,
            currency,
            open_deals,
            open_amount,
            won_deals,
            won_amount,
            weighted,
        ) in await on.fetch_all(_SUMS, params)
    ]
