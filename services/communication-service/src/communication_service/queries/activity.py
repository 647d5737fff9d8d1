"""SQL of activities and timelines."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from communication_service.domain.activity import Activity, Entity, Kind, Occurrence, Related
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs


def _ids(entity: str) -> str:
    return (
        "array(select l.entity_id from activity_links l where l.activity_id = a.id"
        f" and l.entity = '{entity}' order by l.entity_id) as {entity}_ids"
    )


_COLUMNS: Final = (
    "a.id, a.kind, a.subject, a.body, a.direction, a.duration_minutes, a.occurred_at,"
    f" {_ids('contact')}, {_ids('company')}, {_ids('deal')},"
    " a.email_id, a.created_by, a.created_at, a.updated_at, a.version"
)
_BY_ID: Final = f"select {_COLUMNS} from activities a where a.id = %s"
_LIST: Final = (
    f"select {_COLUMNS} from activities a where (%(kind)s::text is null or a.kind = %(kind)s)"
    " and (%(at)s::timestamptz is null or (a.occurred_at, a.id) < (%(at)s, %(id)s::uuid))"
    " order by a.occurred_at desc, a.id desc limit %(limit)s"
)
_TIMELINE: Final = (
    f"select {_COLUMNS} from activity_links t join activities a on a.id = t.activity_id"
    " where t.entity = %(entity)s and t.entity_id = %(entity_id)s"
    " and (%(kind)s::text is null or a.kind = %(kind)s)"
    " and (%(at)s::timestamptz is null or (t.occurred_at, t.activity_id) < (%(at)s, %(id)s::uuid))"
    " order by t.occurred_at desc, t.activity_id desc limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_COUNT_TIMELINE: Final = counted(_TIMELINE)
_ADD: Final = (
    "insert into activities (id, kind, subject, body, direction, duration_minutes, occurred_at,"
    " email_id, created_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_CHANGE: Final = (
    "update activities set subject = %s, body = %s, direction = %s, duration_minutes = %s,"
    " occurred_at = %s, updated_at = now(), version = version + 1 where id = %s"
)
_UNLINK: Final = "delete from activity_links where activity_id = %s"
_LINK: Final = (
    "insert into activity_links (activity_id, occurred_at, entity, entity_id)"
    " select %s, %s, * from unnest(%s::text[], %s::uuid[])"
)
_DELETE: Final = "delete from activities where id = %s"


async def get(on: Verbs, activity: UUID) -> Activity | None:
    """Return an activity."""
    return await on.fetch_optional(_BY_ID, [activity], row=Activity)


async def lock(tx: Transaction, activity: UUID) -> Activity | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [activity], row=Activity)


async def newest_first(
    on: Verbs,
    of: tuple[Entity, UUID] | None,
    kind: Kind | None,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Activity]:
    """Return a timeline, or with nobody's all activities."""
    at, last = after or (None, None)
    params: dict[str, object] = {"kind": kind, "at": at, "id": last, "limit": limit}
    if of is None:
        return await on.fetch_all(_LIST, params, row=Activity)
    params |= {"entity": of[0], "entity_id": of[1]}
    return await on.fetch_all(_TIMELINE, params, row=Activity)


async def count(on: Verbs, of: tuple[Entity, UUID] | None, kind: Kind | None) -> int:
    """Return how many there are in a timeline, or of all activities."""
    params: dict[str, object] = {"kind": kind, **WHOLE}
    if of is None:
        return int(await on.fetch_value(_COUNT, params))
    params |= {"entity": of[0], "entity_id": of[1]}
    return int(await on.fetch_value(_COUNT_TIMELINE, params))


async def add(tx: Transaction, activity: UUID, what: Occurrence, who: str) -> None:
    """Add an activity, and put it into its timelines."""
    about = [what.direction, what.duration_minutes, what.occurred_at, what.email_id, who]
    await tx.execute(_ADD, [activity, what.kind, what.subject, what.body, *about])
    await _link(tx, activity, what.occurred_at, what.related)


async def change(tx: Transaction, activity: UUID, what: Occurrence) -> None:
    """Replace what a person may change of it."""
    said = [what.subject, what.body, what.direction, what.duration_minutes, what.occurred_at]
    await tx.execute(_CHANGE, [*said, activity])
    await tx.execute(_UNLINK, [activity])
    await _link(tx, activity, what.occurred_at, what.related)


async def delete(tx: Transaction, activity: UUID) -> None:
    """Remove it from all timelines."""
    await tx.execute(_DELETE, [activity])


async def _link(tx: Transaction, activity: UUID, at: datetime, related: Related) -> None:
    if named := related.all:
        entities, ids = zip(*named, strict=True)
        await tx.execute(_LINK, [activity, at, list(entities), list(ids)])
