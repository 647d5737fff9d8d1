"""Contacts: made, changed, deleted, restored, merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal
from uuid import UUID

from contact_service.domain import event
from contact_service.domain.contact import (
    Contact,
    ContactFields,
    ContactPatch,
    absorb,
    difference,
)
from contact_service.domain.errors import (
    CompanyUnknown,
    ContactDuplicate,
    ContactMerged,
    ContactNotDeleted,
    ContactNotFound,
    MergeInvalid,
)
from contact_service.domain.identity import new_id
from contact_service.handlers.lookup import Lookup
from contact_service.handlers.owners import Owners
from contact_service.queries import companies, custom_fields
from contact_service.queries import contacts as rows
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction, Verbs

Why = Literal["email", "phone", "name"]
"""What is the same: `name` is that and the company."""


@dataclass(frozen=True)
class Contacts:
    """Changes contacts of one tenant in one transaction, with their events and audit entries.

    Attributes:
        chassis: Of the running app.
        own: This service's settings.
        tx: The open transaction.
        audit: The request's trail.
        who: The caller.
    """

    chassis: Chassis
    own: ContactServiceSettings
    tx: Transaction
    audit: AuditTrail
    who: Principal

    async def create(self, asked: ContactFields, *, allow_duplicates: bool) -> Contact:
        """Make a contact.

        Raises:
            ContactNameless: It has neither a name nor an address.
            ContactDuplicate: There may be one already; `allow_duplicates` does not help if the
                address is the same.
            CustomValuesInvalid: Values do not fit the tenant's fields.
            CompanyUnknown: Its company is not there.
            OwnerUnknown: Its owner is not there.
        """
        values = await self._checked(asked, None)
        if not allow_duplicates and _may_be_known(values):
            refuse(await rows.candidates(self.tx, values), values)
        contact = await rows.add(self.tx, new_id(), values)
        if contact is None:
            refuse(await rows.candidates(self.tx, values), values)
            raise ContactDuplicate  # whoever had the address is being changed at this moment
        await self.audit.record(
            self.tx, "contact.created", "contact", contact.id, after=contact.values()
        )
        await self.chassis.outbox.add(self.tx, event.created(contact), key=contact.id)
        return contact

    async def replace(self, contact: UUID, asked: ContactFields, condition: Condition) -> Contact:
        """Give a contact these fields and no others."""
        before = await self._lock(contact, condition)
        return await self._change(before, asked)

    async def patch(self, contact: UUID, asked: ContactPatch, condition: Condition) -> Contact:
        """Change what a patch says of a contact."""
        before = await self._lock(contact, condition)
        return await self._change(before, asked.on(before))

    async def delete(self, contact: UUID, condition: Condition) -> None:
        """Delete a contact, so that it can be restored.

        Raises:
            ContactNotFound: There is none.
            VersionMismatch: It is not the one that was read.
        """
        before = await self._lock(contact, condition)
        await self._remove([before], into=None)

    async def restore(self, contact: UUID) -> Contact:
        """Bring a deleted contact back; without its company, if that is gone.

        Raises:
            ContactNotFound: There never was one.
            ContactNotDeleted: It is there.
            ContactMerged: Another one has what it had.
            ContactDuplicate: Another one has its address by now.
        """
        before = await rows.lock(self.tx, contact)
        if before is None:
            raise ContactNotFound
        if before.deleted_at is None:
            raise ContactNotDeleted
        if before.merged_into is not None:
            raise ContactMerged
        await self._check_address(before.values(), contact)
        company = before.company_id
        if company is not None and not await companies.hold(self.tx, [company]):
            company = None
        back = await rows.restore(self.tx, contact, company)
        await self.tell_change(back, "contact.restored", {}, back.values())
        return back

    async def purge(self, contact: UUID) -> None:
        """Remove a deleted contact for good, with those that became part of it, and what was noted of them.

        Raises:
            ContactNotFound: There is none.
            ContactNotDeleted: It is there.
        """
        before = await rows.lock(self.tx, contact)
        if before is None:
            raise ContactNotFound
        if before.deleted_at is None:
            raise ContactNotDeleted
        gone = await rows.purge(self.tx, contact)
        await self.audit.erase(self.tx, "contact", gone)
        for one in gone:
            await self.audit.record(self.tx, "contact.purged", "contact", one)

    async def merge(self, contact: UUID, others: Sequence[UUID], condition: Condition) -> Contact:
        """Let a contact take what it lacks from others, in their order, which are deleted.

        Raises:
            ContactNotFound: The contact is not there.
            MergeInvalid: One of the others is not there, twice there, or the contact itself.
            VersionMismatch: The contact is not the one that was read.
        """
        found = {one.id: one for one in await rows.lock_many(self.tx, [contact, *others])}
        if contact not in found:
            raise ContactNotFound
        if len({contact, *others}) != len(others) + 1 or len(found) != len(others) + 1:
            raise MergeInvalid
        condition.check(found[contact].version)
        before = found[contact]
        after = reduce(absorb, [found[one] for one in others], before)
        # The others first: an address that moves is one contact's at any moment.
        await self._remove([found[one] for one in others], into=contact)
        was, now = difference(before.values(), after.values())
        (merged,) = await rows.change(self.tx, [(contact, after.values())])
        now["merged"] = [str(one) for one in others]
        await self.tell_change(merged, "contact.merged", was, now)
        return merged

    async def tell_change(
        self, contact: Contact, action: str, was: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        """Note that a contact was changed, tell it, and forget what it was."""
        await self.audit.record(self.tx, action, "contact", contact.id, before=was, after=now)
        await self.chassis.outbox.add(self.tx, event.updated(contact), key=contact.id)
        await Lookup(self.chassis, self._tenant).forget(contact)

    async def _lock(self, contact: UUID, condition: Condition) -> Contact:
        before = await rows.lock(self.tx, contact)
        if before is None or before.deleted_at is not None:
            raise ContactNotFound
        condition.check(before.version)
        return before

    async def _change(self, before: Contact, asked: ContactFields) -> Contact:
        values = await self._checked(asked, before)
        was, now = difference(before.values(), values)
        if not now:
            return before
        if "email" in now:
            await self._check_address(values, before.id)
        (contact,) = await rows.change(self.tx, [(before.id, values)])
        await self.tell_change(contact, "contact.updated", was, now)
        return contact

    async def _remove(self, contacts: Sequence[Contact], *, into: UUID | None) -> None:
        lookup = Lookup(self.chassis, self._tenant)
        for gone in await rows.delete(self.tx, [one.id for one in contacts], into=into):
            after = None if into is None else {"merged_into": str(into)}
            await self.audit.record(
                self.tx, "contact.deleted", "contact", gone.id, before=gone.values(), after=after
            )
            await self.chassis.outbox.add(self.tx, event.deleted(gone), key=gone.id)
            await lookup.forget(gone)

    async def _checked(self, asked: ContactFields, before: Contact | None) -> dict[str, Any]:
        asked.check()
        values = asked.values()
        if values["custom"]:
            values["custom"] = await custom_fields.HOLDERS.checked(
                self.tx,
                "contact",
                values["custom"],
                None if before is None else before.custom,
            )
        company, owner = values["company_id"], values["owner_id"]
        is_new = company is not None and (before is None or company != before.company_id)
        if is_new and not await companies.hold(self.tx, [company]):
            raise CompanyUnknown
        if owner is not None and (before is None or owner != before.owner_id):
            await Owners(self.chassis, self.own, self._tenant, self.who.id).check([owner])
        return values

    async def _check_address(self, values: Mapping[str, Any], contact: UUID) -> None:
        if values["email"] is None:
            return
        found = await rows.known(self.tx, [], [values["email"]], lock=False)
        refuse([one for one in found if one.id != contact], values)

    @property
    def _tenant(self) -> str:
        return self.tx.tenant or ""


async def duplicates(on: Verbs, asked: ContactFields) -> Sequence[tuple[Contact, Why]]:
    """Return contacts that may be the same as one with these fields, each with why."""
    values = asked.values()
    return [(one, why(one, values)) for one in await rows.candidates(on, values)]


def why(contact: Contact, values: Mapping[str, Any]) -> Why:
    """Return what makes a contact a candidate: the same `email`, `phone`, or `name` and company."""
    if values["email"] is not None and contact.email == values["email"]:
        return "email"
    if values["phone"] and _digits(contact.phone) == _digits(values["phone"]):
        return "phone"
    return "name"


def refuse(candidates: Sequence[Contact], values: Mapping[str, Any]) -> None:
    """Let a contact be the only one.

    Raises:
        ContactDuplicate: There are candidates.
    """
    if candidates:
        errors = [
            {
                "in": "body",
                "type": f"duplicate_{why(one, values)}",
                "detail": f"may be contact {one.id}",
                "contact_id": str(one.id),
            }
            for one in candidates
        ]
        raise ContactDuplicate(errors=errors)


def _digits(phone: str | None) -> str:
    return "".join(letter for letter in phone or "" if letter in "0123456789")


def _may_be_known(values: Mapping[str, Any]) -> bool:
    # By an address a contact is found when it is added: no two have the same.
    return bool(values["phone"] or values["company_id"])
