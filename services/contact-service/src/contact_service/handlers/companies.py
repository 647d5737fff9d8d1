"""Companies: made, changed, deleted, restored, put into a hierarchy; who works there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from contact_service.domain.company import DEEPEST, Company, CompanyFields, CompanyPatch
from contact_service.domain.contact import difference
from contact_service.domain.errors import (
    CompanyInUse,
    CompanyNotDeleted,
    CompanyNotFound,
    CompanyUnknown,
    HierarchyCycle,
    HierarchyTooDeep,
)
from contact_service.domain.event import CompanyCreated
from contact_service.domain.identity import new_id
from contact_service.handlers.owners import Owners
from contact_service.queries import companies as rows
from contact_service.queries import custom_fields
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction


@dataclass(frozen=True)
class Companies:
    """Changes companies of one tenant in one transaction, with their events and audit entries.

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

    async def create(self, asked: CompanyFields) -> Company:
        """Make a company.

        Raises:
            CompanyUnknown: The company that it should belong to is not there.
            HierarchyTooDeep: There are too many above it.
            OwnerUnknown: Its owner is not there.
            CustomValuesInvalid: Values do not fit the tenant's fields.
        """
        company = new_id()
        values = await self._checked(company, asked, None)
        return await add_company(self.chassis, self.tx, self.audit, company, values)

    async def replace(self, company: UUID, asked: CompanyFields, condition: Condition) -> Company:
        """Give a company these fields and no others."""
        return await self._change(await self._lock(company, condition), asked)

    async def patch(self, company: UUID, asked: CompanyPatch, condition: Condition) -> Company:
        """Change what a patch says of a company."""
        before = await self._lock(company, condition)
        return await self._change(before, asked.on(before))

    async def delete(self, company: UUID, condition: Condition) -> None:
        """Delete a company that nothing belongs to.

        Raises:
            CompanyNotFound: There is none.
            CompanyInUse: Contacts or companies belong to it.
            VersionMismatch: It is not the one that was read.
        """
        before = _there(await rows.lock_out(self.tx, company), condition)
        if await rows.is_in_use(self.tx, company):
            raise CompanyInUse
        await rows.delete(self.tx, company)
        await self.audit.record(
            self.tx, "company.deleted", "company", company, before=before.values()
        )

    async def restore(self, company: UUID) -> Company:
        """Bring a deleted company back; on its own, if the one above it is gone.

        Raises:
            CompanyNotFound: There never was one.
            CompanyNotDeleted: It is there.
        """
        before = await rows.lock(self.tx, company)
        if before is None:
            raise CompanyNotFound
        if before.deleted_at is None:
            raise CompanyNotDeleted
        parent = before.parent_id
        if parent is not None and not await rows.hold(self.tx, [parent]):
            parent = None
        back = await rows.restore(self.tx, company, parent)
        await self.audit.record(
            self.tx, "company.restored", "company", company, after=back.values()
        )
        return back

    async def _lock(self, company: UUID, condition: Condition) -> Company:
        return _there(await rows.lock(self.tx, company), condition)

    async def _change(self, before: Company, asked: CompanyFields) -> Company:
        values = await self._checked(before.id, asked, before)
        was, now = difference(before.values(), values)
        if not now:
            return before
        company = await rows.change(self.tx, before.id, values)
        await self.audit.record(
            self.tx, "company.updated", "company", company.id, before=was, after=now
        )
        return company

    async def _checked(
        self, company: UUID, asked: CompanyFields, before: Company | None
    ) -> dict[str, Any]:
        values = asked.values()
        if values["custom"]:
            values["custom"] = await custom_fields.HOLDERS.checked(
                self.tx,
                "company",
                values["custom"],
                None if before is None else before.custom,
            )
        parent, owner = values["parent_id"], values["owner_id"]
        if parent is not None and (before is None or parent != before.parent_id):
            await self._check_parent(company, parent)
        if before is None or owner != before.owner_id:
            tenant = self.tx.tenant or ""
            await Owners(self.chassis, self.own, tenant, self.who.id).check([owner])
        return values

    async def _check_parent(self, company: UUID, parent: UUID) -> None:
        # One at a time: two moves, each fine by itself, could together make a circle or go too deep.
        await self.tx.lock("contact-service companies hierarchy")
        if not await rows.hold(self.tx, [parent]):
            raise CompanyUnknown
        above = await rows.above(self.tx, parent, most=DEEPEST)
        if company in above:
            raise HierarchyCycle
        room = DEEPEST - len(above)
        if await rows.depth(self.tx, company, most=room) > room:
            raise HierarchyTooDeep(most=DEEPEST)


def _there(found: Company | None, condition: Condition) -> Company:
    if found is None or found.deleted_at is not None:
        raise CompanyNotFound
    condition.check(found.version)
    return found


async def add_company(
    chassis: Chassis,
    tx: Transaction,
    audit: AuditTrail,
    company: UUID,
    values: Mapping[str, Any],
) -> Company:
    """Add a company whose fields were checked, and tell of it."""
    made = await rows.add(tx, company, values)
    await audit.record(tx, "company.created", "company", made.id, after=made.values())
    told = CompanyCreated(str(made.id), made.name)
    await chassis.outbox.add(tx, told, key=made.id)
    return made
