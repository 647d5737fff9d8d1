"""SQL of deals; a deleted one is not there, but for those who say so."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from deal_service.domain.deal import Deal
from deal_service.domain.pipeline import Outcome
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs

Sort = Literal["-created_at", "created_at", "-amount_minor", "expected_close_date"]

_COLUMNS: Final = (
    "d.id, d.name, d.pipeline_id, d.stage_id, s.key as stage, d.status, d.probability, d.amount_minor,"
    " d.currency, d.expected_close_date, d.owner_id,"
    " (select r.key from lost_reasons r where r.id = d.lost_reason_id) as lost_reason, d.lost_note,"
    " array(select c.contact_id from deal_contacts c where c.deal_id = d.id order by c.position)"
    " as contact_ids, d.custom, d.stage_entered_at, d.closed_at, d.created_at, d.updated_at, d.version"
)
_FROM: Final = f"select {_COLUMNS} from deals d join stages s on s.id = d.stage_id"
_BY_ID: Final = f"{_FROM} where d.id = %s and d.deleted_at is null"
_LOCK: Final = (
    "select id from deals where id = any(%s) and (deleted_at is null) = %s order by id"
    " for no key update"
)
_FILTER: Final = (
    "d.deleted_at is null and (%(status)s::text is null or d.status = %(status)s)"
    " and (%(pipeline_id)s::uuid is null or d.pipeline_id = %(pipeline_id)s)"
    " and (%(owner_id)s::text is null or d.owner_id = %(owner_id)s)"
    # In the words of the index, where infinity stands for no date.
    " and (%(expected_from)s::date is null or d.expected_close_date is not null"
    " and coalesce(d.expected_close_date, 'infinity') >= %(expected_from)s)"
    " and (%(expected_to)s::date is null"
    " or coalesce(d.expected_close_date, 'infinity') <= %(expected_to)s)"
    " and (%(custom)s::jsonb is null or d.custom @> %(custom)s::jsonb)"
    # As arrays, which are known before the search begins, so that an index may be asked for them.
    " and (%(stage)s::text is null"
    " or d.stage_id = any(array(select id from stages where key = %(stage)s)))"
    " and (%(contact_id)s::uuid is null or d.id = any(array("
    "select deal_id from deal_contacts where contact_id = %(contact_id)s)))"
)
_LIST: Final[dict[Sort, str]] = {
    "-created_at": f"{_FROM} where {_FILTER} and (%(at)s::timestamptz is null"
    " or (d.created_at, d.id) < (%(at)s, %(id)s::uuid))"
    " order by d.created_at desc, d.id desc limit %(limit)s",
    "created_at": f"{_FROM} where {_FILTER} and (%(at)s::timestamptz is null"
    " or (d.created_at, d.id) > (%(at)s, %(id)s::uuid))"
    " order by d.created_at, d.id limit %(limit)s",
    "-amount_minor": f"{_FROM} where {_FILTER} and (%(at)s::bigint is null"
    " or (d.amount_minor, d.id) < (%(at)s, %(id)s::uuid))"
    " order by d.amount_minor desc, d.id desc limit %(limit)s",
    "expected_close_date": f"{_FROM} where {_FILTER} and (%(at)s::date is null"
    " or (coalesce(d.expected_close_date, 'infinity'), d.id) > (%(at)s, %(id)s::uuid))"
    " order by coalesce(d.expected_close_date, 'infinity'), d.id limit %(limit)s",
}
_COUNT: Final = counted(_LIST["-created_at"])
_CARDS: Final = (
    f"select {_COLUMNS} from unnest(%(stages)s::uuid[]) as wanted (stage_id) cross join lateral ("
    "select * from deals where deals.stage_id = wanted.stage_id and deals.deleted_at is null"
    " and (%(owner_id)s::text is null or deals.owner_id = %(owner_id)s)"
    " order by stage_entered_at desc, id desc limit %(limit)s) d join stages s on s.id = d.stage_id"
    " order by s.position, d.stage_entered_at desc, d.id desc"
)
_SUMS: Final = (
    "select stage_id, currency, count(*) as deals, sum(amount_minor) as amount,"
    " sum(amount_minor * probability) as weighted from deals"
    " where pipeline_id = %(pipeline_id)s and deleted_at is null and status = 'open'"
    " and (%(owner_id)s::text is null or owner_id = %(owner_id)s)"
    " group by stage_id, currency order by stage_id, currency"
)
_ADD: Final = (
    "insert into deals (id, name, pipeline_id, stage_id, status, probability, amount_minor, currency,"
    " expected_close_date, owner_id, custom) values (%(id)s, %(name)s, %(pipeline_id)s, %(stage_id)s,"
    " 'open', %(probability)s, %(amount_minor)s, %(currency)s, %(expected_close_date)s, %(owner_id)s,"
    " %(custom)s::jsonb)"
)
_PUT: Final = (
    "update deals set name = %(name)s, pipeline_id = %(pipeline_id)s, stage_id = %(stage_id)s,"
    " status = %(status)s, probability = %(probability)s, amount_minor = %(amount_minor)s,"
    " currency = %(currency)s, expected_close_date = %(expected_close_date)s, owner_id = %(owner_id)s,"
    " lost_reason_id = (select id from lost_reasons where key = %(lost_reason)s),"
    " lost_note = %(lost_note)s, custom = %(custom)s::jsonb, stage_entered_at = %(stage_entered_at)s, closed_at = %(closed_at)s,"
    " updated_at = clock_timestamp(), version = version + 1 where id = %(id)s"
)
_TOUCH: Final = (
    "update deals set updated_at = clock_timestamp(), version = version + 1 where id = any(%s)"
)
_DELETED: Final = (
    "update deals set deleted_at = case when %s then clock_timestamp() end,"
    " updated_at = clock_timestamp(), version = version + 1 where id = %s"
)
_PURGE: Final = "delete from deals where id = %s"  # its visits and contacts go with it


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which deals; None is no condition.

    Attributes:
        status: Open, won or lost ones.
        pipeline_id: Those of a pipeline.
        stage: Those in a stage, by its key.
        owner_id: Those of a user.
        contact_id: Those to which a contact belongs.
        expected_from: Those that are expected to be closed on this day or later.
        expected_to: Or on this day or earlier.
        custom: Those with these values of the tenant's own fields, as JSON.
    """

    status: Outcome | None = None
    pipeline_id: UUID | None = None
    stage: str | None = None
    owner_id: str | None = None
    contact_id: UUID | None = None
    expected_from: date | None = None
    expected_to: date | None = None
    custom: str | None = None


@dataclass(frozen=True)
class Sum:
    """What the open deals of a stage are worth in a currency.

    Attributes:
        stage_id: Of the stage.
        currency: Of the amounts.
        deals: How many.
        amount: Of all of them.
        weighted: The sum of amounts times percents.
    """

    stage_id: UUID
    currency: str
    deals: int
    amount: int
    weighted: int


async def get(on: Verbs, deal: UUID) -> Deal | None:
    """Return a deal."""
    return await on.fetch_optional(_BY_ID, [deal], row=Deal)


async def lock(tx: Transaction, deals: Sequence[UUID], *, deleted: bool = False) -> list[UUID]:
    """Let nobody else change some deals until the transaction ends; return those that there are.

    They are taken in the order of their ids: two who want the same ones do not wait for each other.

    Args:
        tx: The open transaction.
        deals: Which.
        deleted: Whether deleted ones are meant.
    """
    return [row[0] for row in await tx.fetch_all(_LOCK, [list(deals), not deleted])]


async def lock_one(tx: Transaction, deal: UUID) -> Deal | None:
    """Return a deal that nobody else changes until the transaction ends."""
    if not await lock(tx, [deal]):
        return None
    # A statement of its own, whose snapshot is younger than the lock: in one, a stage or contacts of
    # before the wait would stand beside a row of after it.
    return await get(tx, deal)


async def page(
    on: Verbs, which: Filter, sort: Sort, *, after: tuple[Any, UUID] | None, limit: int
) -> Sequence[Deal]:
    """Return some deals in an order, from behind one of them."""
    at, last = after or (None, None)
    params = {**asdict(which), "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_LIST[sort], params, row=Deal)


async def count(on: Verbs, which: Filter) -> int:
    """Return how many deals there are of those."""
    return int(await on.fetch_value(_COUNT, {**asdict(which), **WHOLE}))


async def cards(
    on: Verbs, stages: Sequence[UUID], *, owner_id: str | None, each: int
) -> Sequence[Deal]:
    """Return the deals that came last into each of some stages."""
    params = {"stages": list(stages), "owner_id": owner_id, "limit": each}
    return await on.fetch_all(_CARDS, params, row=Deal)


async def sums(on: Verbs, pipeline: UUID, *, owner_id: str | None) -> list[Sum]:
    """Return what the open deals of a pipeline are worth, by stage and currency."""
    rows = await on.fetch_all(_SUMS, {"pipeline_id": pipeline, "owner_id": owner_id})
    return [
        Sum(stage, currency, count, int(amount), int(weighted))
        for stage, currency, count, amount, weighted in rows
    ]


@dataclass(frozen=True, kw_only=True)
class NewDeal:
    """A deal that begins."""

    id: UUID
    name: str
    pipeline_id: UUID
    stage_id: UUID
    probability: int
    amount_minor: int
    currency: str
    expected_close_date: date | None
    owner_id: str | None
    custom: Mapping[str, Any]


async def add(tx: Transaction, new: NewDeal) -> None:
    """Add a deal."""
    await tx.execute(_ADD, {**asdict(new), "custom": json.dumps(new.custom)})


async def put(tx: Transaction, deal: Deal) -> None:
    """Write a deal that is locked; its version grows."""
    await tx.execute(_PUT, {**asdict(deal), "custom": json.dumps(deal.custom)})


async def touch(tx: Transaction, deals: Sequence[UUID]) -> None:
    """Note that something that belongs to deals has changed."""
    await tx.execute(_TOUCH, [list(deals)])


async def mark_deleted(tx: Transaction, deal: UUID, *, deleted: bool) -> None:
    """Delete a deal, or bring it back."""
    await tx.execute(_DELETED, [deleted, deal])


async def purge(tx: Transaction, deal: UUID) -> None:
    """Remove a deal, with its history."""
    await tx.execute(_PURGE, [deal])


async def moment(tx: Transaction, not_before: datetime) -> datetime:
    """Return the time now, which a clock that was set back does not bring before another one."""
    found: datetime = await tx.fetch_value(_MOMENT, [not_before])
    return found


_MOMENT: Final = "select greatest(clock_timestamp(), %s::timestamptz)"
