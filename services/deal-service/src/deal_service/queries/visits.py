"""SQL of where deals have been."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from deal_service.domain.deal import Deal, Visit
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs

_LEAVE: Final = "update deal_visits set left_at = %s where deal_id = %s and left_at is null"
_ENTER: Final = (
    "insert into deal_visits (id, deal_id, pipeline_id, stage, probability, amount_minor, currency,"
    " moved_by, entered_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_OF_DEAL: Final = (
    "select id, pipeline_id, stage, probability, amount_minor, currency, moved_by, entered_at,"
    " left_at, extract(epoch from coalesce(left_at, greatest(clock_timestamp(), entered_at))"
    " - entered_at)::float8 as seconds from deal_visits where deal_id = %(deal_id)s"
    " and (%(at)s::timestamptz is null or (entered_at, id) > (%(at)s, %(id)s::uuid))"
    " order by entered_at, id limit %(limit)s"
)
_COUNT: Final = counted(_OF_DEAL)


async def leave(tx: Transaction, deal: UUID, at: datetime) -> None:
    """Note that a deal leaves its stage."""
    await tx.execute(_LEAVE, [at, deal])


async def enter(tx: Transaction, visit: UUID, deal: Deal, moved_by: str) -> None:
    """Note that a deal came into its stage."""
    await tx.execute(
        _ENTER,
        [
            visit,
            deal.id,
            deal.pipeline_id,
            deal.stage,
            deal.probability,
            deal.amount_minor,
            deal.currency,
            moved_by,
            deal.stage_entered_at,
        ],
    )


async def of_deal(
    on: Verbs, deal: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Visit]:
    """Return where a deal has been, the first stage first."""
    at, last = after or (None, None)
    params = {"deal_id": deal, "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_OF_DEAL, params, row=Visit)


async def count(on: Verbs, deal: UUID) -> int:
    """Return how many stages a deal has been in."""
    return int(await on.fetch_value(_COUNT, {"deal_id": deal, **WHOLE}))
