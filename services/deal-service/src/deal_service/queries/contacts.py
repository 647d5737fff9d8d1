"""SQL of the contacts that belong to deals."""

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
