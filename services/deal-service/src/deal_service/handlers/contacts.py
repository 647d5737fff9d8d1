"""Who belongs to a deal."""

from __future__ import annotations

from uuid import UUID

from deal_service.domain.deal import MOST_CONTACTS, Association
from deal_service.domain.errors import (
    ContactAssociated,
    ContactNotAssociated,
    DealNotFound,
    TooManyContacts,
)
from deal_service.handlers.lookups import Lookups
from deal_service.queries import contacts, deals
from deal_service.settings import DealServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.audit import Done
from mtenant_database import Transaction


async def associate(
    tx: Transaction,
    deal_id: UUID,
    contact_id: UUID,
    role: str | None,
    *,
    chassis: Chassis,
    own: DealServiceSettings,
    audit: AuditTrail,
) -> Association:
    """Let a contact belong to a deal.

    Raises:
        ContactUnknown: contact-service has none such.
        DealNotFound: There is none.
        ContactAssociated: It belongs to it already.
        TooManyContacts: The deal has as many as one may have.
    """
    known = await Lookups(chassis, own).ask(tx.tenant or "", contacts=[contact_id])
    known.check_contacts([contact_id])
    deal = await deals.lock_one(tx, deal_id)
    if deal is None:
        raise DealNotFound
    if contact_id in deal.contact_ids:
        raise ContactAssociated
    if len(deal.contact_ids) >= MOST_CONTACTS:
        raise TooManyContacts(what="a deal has", most=MOST_CONTACTS)
    made = await contacts.add(tx, deal_id, contact_id, role)
    await deals.touch(tx, [deal_id])
    about = {"contact_id": contact_id, "role": role}
    await audit.record(tx, "deal.contact_added", "deal", deal_id, after=about)
    return made


async def dissociate(
    tx: Transaction, deal_id: UUID, contact_id: UUID, *, audit: AuditTrail
) -> None:
    """Let a contact belong to a deal no more.

    Raises:
        DealNotFound: There is none.
        ContactNotAssociated: It does not belong to it.
    """
    if not await deals.lock(tx, [deal_id]):
        raise DealNotFound
    if not await contacts.remove(tx, deal_id, contact_id):
        raise ContactNotAssociated
    await deals.touch(tx, [deal_id])
    before = {"contact_id": contact_id}
    await audit.record(tx, "deal.contact_removed", "deal", deal_id, before=before)


async def merge(tx: Transaction, contact_id: UUID, into: UUID, *, audit: AuditTrail) -> None:
    """Let the deals of a contact that became part of another one have that one.

    Merges are heard of in any order: if the other one is gone by now, too, its own survivor has them.
    """
    # One at a time: of two that follow each other, neither would see the other's deals.
    await tx.lock("deal-service merged contacts")
    await contacts.note_merged(tx, contact_id, into)
    survivor = await contacts.survivor(tx, into)
    known = await contacts.deals_of(tx, contact_id)
    for deleted in (False, True):
        await deals.lock(tx, known, deleted=deleted)
    moved = await contacts.move(tx, contact_id, survivor)
    await deals.touch(tx, moved)
    before, after = {"contact_id": contact_id}, {"contact_id": survivor}
    done = [Done("deal.contact_merged", "deal", one, before=before, after=after) for one in moved]
    await audit.record_many(tx, done)
