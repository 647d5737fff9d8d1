"""SQL of the contacts that belong to deals."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from deal_service.domain.deal import Association
from mtenant_database import Transaction, Verbs

_OF_DEAL: Final = (
    "select contact_id, role, added_at from deal_contacts where deal_id = %s order by position"
)
_ADD: Final = (
    "insert into deal_contacts (deal_id, contact_id, role) values (%s, %s, %s)"
    " returning contact_id, role, added_at"
)
_ADD_ALL: Final = (
    "insert into deal_contacts (deal_id, contact_id) select %s, contact_id"
    " from unnest(%s::uuid[]) with ordinality as given (contact_id, n) order by n"
)
_REMOVE: Final = (
    "delete from deal_contacts where deal_id = %s and contact_id = %s returning contact_id"
)
_NOTE: Final = (
    "insert into merged_contacts (contact_id, merged_into) values (%s, %s)"
    " on conflict (contact_id) do nothing"
)
_SURVIVOR: Final = (
    # Subqueries, and no join: each is a look-up by the index, however many are guessed to follow.
    "with recursive line (contact_id, next) as (select %(contact)s::uuid,"
    " (select merged_into from merged_contacts where contact_id = %(contact)s) union"
    " select next, (select merged_into from merged_contacts where contact_id = line.next)"
    " from line where next is not null) select contact_id from line where next is null"
)
_DEALS_OF: Final = "select deal_id from deal_contacts where contact_id = %s"
_PAIRS: Final = (
    "one.deal_id = other.deal_id and one.contact_id = any(%(both)s)"
    " and other.contact_id = any(%(both)s) and one.position < other.position"
)
_ROLES: Final = (
    "update deal_contacts one set role = coalesce(one.role, other.role) from deal_contacts other"
    f" where {_PAIRS}"
)
_TWICE: Final = (
    f"delete from deal_contacts other using deal_contacts one where {_PAIRS}"
    " returning other.deal_id"
)
_MOVE: Final = (
    "update deal_contacts set contact_id = %(into)s where contact_id = %(contact)s"
    " returning deal_id"
)


async def of_deal(on: Verbs, deal: UUID) -> Sequence[Association]:
    """Return who belongs to a deal, the first one first."""
    return await on.fetch_all(_OF_DEAL, [deal], row=Association)


async def add(tx: Transaction, deal: UUID, contact: UUID, role: str | None) -> Association:
    """Add a contact that a locked deal has not."""
    return await tx.fetch_one(_ADD, [deal, contact, role], row=Association)


async def add_all(tx: Transaction, deal: UUID, contacts: Sequence[UUID]) -> None:
    """Add the contacts of a new deal, in their order."""
    await tx.execute(_ADD_ALL, [deal, list(contacts)])


async def remove(tx: Transaction, deal: UUID, contact: UUID) -> bool:
    """Remove a contact; False if it was not there."""
    return await tx.fetch_optional(_REMOVE, [deal, contact]) is not None


async def note_merged(tx: Transaction, contact: UUID, into: UUID) -> None:
    """Note that a contact became part of another one."""
    await tx.execute(_NOTE, [contact, into])


async def survivor(on: Verbs, contact: UUID) -> UUID:
    """Return the contact that has taken a contact's place by now; itself, if none has."""
    found: UUID = await on.fetch_value(_SURVIVOR, {"contact": contact})
    return found


async def deals_of(on: Verbs, contact: UUID) -> list[UUID]:
    """Return the deals to which a contact belongs, deleted ones, too."""
    return [row[0] for row in await on.fetch_all(_DEALS_OF, [contact])]


async def move(tx: Transaction, contact: UUID, into: UUID) -> list[UUID]:
    """Let another contact take a contact's place in its deals, which are locked; return those.

    Where it is there already, it has the earlier of both places.
    """
    both = {"both": [contact, into]}
    await tx.execute(_ROLES, both)
    twice = await tx.fetch_all(_TWICE, both)
    moved = await tx.fetch_all(_MOVE, {"contact": contact, "into": into})
    return sorted({row[0] for row in (*twice, *moved)})
