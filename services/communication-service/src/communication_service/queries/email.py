"""SQL of mails, their links, what happened to them, and who wants no more."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from communication_service.domain.email import Email, Figures, Period, Track, TrackKind
from communication_service.domain.identity import new_id
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "id, status, recipient, contact_id, company_id, deal_id, user_id, template_id, template_version,"
    " template_key, template_values, subject, body_text, body_html, transactional, tracked,"
    " activity_id, message_id, attempts, error, created_by, created_at, sent_at, failed_at,"
    " opened_at, clicked_at, unsubscribed_at, opens, clicks, machine_opens, machine_clicks, tracks,"
    " version"
)
_BY_ID: Final = f"select {_COLUMNS} from emails where id = %s"
_LIST: Final = (
    f"select {_COLUMNS} from emails where (%(status)s::text is null or status = %(status)s)"
    " and (%(contact_id)s::uuid is null or contact_id = %(contact_id)s)"
    " and (%(deal_id)s::uuid is null or deal_id = %(deal_id)s)"
    " and (%(template_id)s::uuid is null or template_id = %(template_id)s)"
    " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s::uuid))"
    " order by created_at desc, id desc limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_ADD: Final = (
    "insert into emails (id, status, recipient, contact_id, company_id, deal_id, user_id,"
    " template_id, template_version, template_key, template_values, subject, body_text, body_html,"
    " transactional, tracked, activity_id, message_id, created_by) values (%(id)s, %(status)s,"
    " %(recipient)s, %(contact_id)s, %(company_id)s, %(deal_id)s, %(user_id)s, %(template_id)s,"
    " %(template_version)s, %(template_key)s, %(template_values)s, %(subject)s, %(body_text)s,"
    " %(body_html)s, %(transactional)s, %(tracked)s, %(activity_id)s, %(message_id)s,"
    f" %(created_by)s) returning {_COLUMNS}"
)
_QUEUE: Final = (
    "update emails set status = 'queued', recipient = %(recipient)s, template_id = %(template_id)s,"
    " template_version = %(template_version)s, subject = %(subject)s, body_text = %(body_text)s,"
    " body_html = %(body_html)s, tracked = %(tracked)s, activity_id = %(activity_id)s,"
    " message_id = %(message_id)s, template_values = %(template_values)s, version = version + 1"
    f" where id = %(id)s returning {_COLUMNS}"
)
_SENT: Final = (
    "update emails set status = 'sent', sent_at = now(), attempts = %s, version = version + 1"
    f" where id = %s and status = 'queued' returning {_COLUMNS}"
)
_FAILED: Final = (
    "update emails set status = 'failed', failed_at = now(), attempts = %s, error = %s,"
    " version = version + 1 where id = %s and status in ('scheduled', 'queued')"
)
_ADD_LINKS: Final = (
    "insert into email_links (email_id, number, url)"
    " select %s, number - 1, url from unnest(%s::text[]) with ordinality as one (url, number)"
)
_LINK: Final = "select url from email_links where email_id = %s and number = %s"
_COUNT_LINK: Final = (
    "update email_links set clicks = clicks + 1 where email_id = %s and number = %s"
)
_LINKS: Final = "select number, url, clicks from email_links where email_id = %s order by number"
_TRACK: Final = (
    "insert into email_tracking (id, email_id, kind, link, machine) values (%s, %s, %s, %s, %s)"
)
_OPENED: Final = (
    "update emails set opens = opens + 1, opened_at = coalesce(opened_at, now()),"
    " tracks = tracks + %s, version = version + 1 where id = %s"
)
_CLICKED: Final = (
    "update emails set clicks = clicks + 1, clicked_at = coalesce(clicked_at, now()),"
    " opened_at = coalesce(opened_at, now()), tracks = tracks + %s, version = version + 1"
    " where id = %s"
)
_MACHINE_OPENED: Final = (
    "update emails set machine_opens = machine_opens + 1, tracks = tracks + %s,"
    " version = version + 1 where id = %s"
)
_MACHINE_CLICKED: Final = (
    "update emails set machine_clicks = machine_clicks + 1, tracks = tracks + %s,"
    " version = version + 1 where id = %s"
)
_UNSUBSCRIBED: Final = (
    "update emails set unsubscribed_at = coalesce(unsubscribed_at, now()), tracks = tracks + %s,"
    " version = version + 1 where id = %s"
)
_TRACKS: Final = (
    "select id, kind, link, machine, at from email_tracking where email_id = %(email)s"
    " and (%(at)s::timestamptz is null or (at, id) > (%(at)s, %(id)s::uuid))"
    " order by at, id limit %(limit)s"
)
_COUNT_TRACKS: Final = counted(_TRACKS)
_SUPPRESS: Final = (
    "insert into email_suppressions (address, email_id) values (%s, %s)"
    " on conflict (address) do nothing"
)
_IS_SUPPRESSED: Final = "select exists (select from email_suppressions where address = %s)"
_FIGURES: Final = (
    "select e.template_id, t.key as template_key,"
    " date_trunc(%(period)s, e.ended_at at time zone 'UTC') at time zone 'UTC' as period,"
    " count(*) filter (where e.status = 'sent') as sent,"
    " count(*) filter (where e.status = 'failed') as failed,"
    " count(*) filter (where e.status = 'sent' and e.opened_at is not null) as opened,"
    " count(*) filter (where e.status = 'sent' and e.clicked_at is not null) as clicked,"
    " count(*) filter (where e.status = 'sent' and e.unsubscribed_at is not null) as unsubscribed,"
    " count(*) filter (where e.status = 'sent' and e.machine_opens > 0) as machine_opened"
    " from emails e left join email_templates t on t.id = e.template_id"
    " where e.ended_at >= %(begin)s and e.ended_at < %(end)s"
    " and (%(template_id)s::uuid is null or e.template_id = %(template_id)s)"
    " group by 1, 2, 3 order by 3, 2 nulls first, 1"
)

_COUNTS: Final = {
    ("open", False): _OPENED,
    ("click", False): _CLICKED,
    ("open", True): _MACHINE_OPENED,
    ("click", True): _MACHINE_CLICKED,
    ("unsubscribe", False): _UNSUBSCRIBED,
    ("unsubscribe", True): _UNSUBSCRIBED,
}


async def get(on: Verbs, email: UUID) -> Email | None:
    """Return a mail."""
    return await on.fetch_optional(_BY_ID, [email], row=Email)


async def lock(tx: Transaction, email: UUID) -> Email | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [email], row=Email)


async def newest_first(
    on: Verbs, filters: Mapping[str, Any], *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Email]:
    """Return those that pass all filters."""
    at, last = after or (None, None)
    params = {**filters, "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_LIST, params, row=Email)


async def count(on: Verbs, filters: Mapping[str, Any]) -> int:
    """Return how many pass all filters."""
    return int(await on.fetch_value(_COUNT, {**filters, **WHOLE}))


async def add(tx: Transaction, values: Mapping[str, Any]) -> Email:
    """Add a mail."""
    return await tx.fetch_one(_ADD, _as_row(values), row=Email)


async def queue(tx: Transaction, values: Mapping[str, Any]) -> Email:
    """Note what a scheduled mail says, now that it is made."""
    return await tx.fetch_one(_QUEUE, _as_row(values), row=Email)


async def sent(tx: Transaction, email: UUID, attempts: int) -> Email | None:
    """Note that a server took it; None if that is known, or it is no mail of this table."""
    return await tx.fetch_optional(_SENT, [attempts, email], row=Email)


async def failed(tx: Transaction, email: UUID, attempts: int, why: str) -> None:
    """Note that it was given up."""
    await tx.execute(_FAILED, [attempts, why, email])


async def add_links(tx: Transaction, email: UUID, urls: Sequence[str]) -> None:
    """Note where its links lead, in their order from 0."""
    if urls:
        await tx.execute(_ADD_LINKS, [email, list(urls)])


async def link(on: Verbs, email: UUID, number: int) -> str | None:
    """Return where one leads."""
    found = await on.fetch_optional(_LINK, [email, number])
    return None if found is None else str(found[0])


async def links(on: Verbs, email: UUID) -> list[tuple[int, str, int]]:
    """Return number, URL and clicks of each."""
    rows = await on.fetch_all(_LINKS, [email])
    return [(row[0], row[1], row[2]) for row in rows]


async def track(
    tx: Transaction,
    email: UUID,
    kind: TrackKind,
    *,
    link: int | None = None,
    machine: str | None = None,
    keep: bool,
) -> None:
    """Note what happened to it; without `keep` it is counted only."""
    if keep:
        await tx.execute(_TRACK, [new_id(), email, kind, link, machine])
    await tx.execute(_COUNTS[kind, machine is not None], [int(keep), email])
    if link is not None and machine is None:
        await tx.execute(_COUNT_LINK, [email, link])


async def tracks(
    on: Verbs, email: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Track]:
    """Return what happened to it, in that order."""
    at, last = after or (None, None)
    params = {"email": email, "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_TRACKS, params, row=Track)


async def count_tracks(on: Verbs, email: UUID) -> int:
    """Return how many things happened to it."""
    return int(await on.fetch_value(_COUNT_TRACKS, {"email": email, **WHOLE}))


async def suppress(tx: Transaction, address: str, email: UUID) -> None:
    """Note that an address wants no more."""
    await tx.execute(_SUPPRESS, [address, email])


async def is_suppressed(on: Verbs, address: str) -> bool:
    """Tell whether it wants no more."""
    return bool(await on.fetch_value(_IS_SUPPRESSED, [address]))


async def figures(
    on: Verbs, *, begin: datetime, end: datetime, period: Period, template_id: UUID | None
) -> Sequence[Figures]:
    """Return what became of the mails that ended in a time, by period and template."""
    params = {"begin": begin, "end": end, "period": period, "template_id": template_id}
    return await on.fetch_all(_FIGURES, params, row=Figures)


def _as_row(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "template_values": json.dumps(values["template_values"])}
