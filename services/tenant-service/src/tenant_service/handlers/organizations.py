"""An organization as its own people see and change it."""

from __future__ import annotations

from dataclasses import dataclass

from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant, Transaction
from tenant_service.domain.errors import (
    OrganizationBusy,
    OrganizationNotFound,
    PlanTooSmall,
    SubdomainReserved,
    SubdomainTaken,
)
from tenant_service.domain.event import TenantUpdated
from tenant_service.domain.organization import Organization
from tenant_service.domain.plan import PLANS, Plan, PlanName, plan_named
from tenant_service.domain.subdomain import is_reserved
from tenant_service.queries import invitation as invitations
from tenant_service.queries import organization as organizations
from tenant_service.queries import registration as registrations
from tenant_service.queries import settings as rows


@dataclass(frozen=True)
class Usage:
    """How much is in use, of how much.

    Attributes:
        plan: What the organization may have.
        users: Accounts.
        invitations: Open invitations, which count as users.
    """

    plan: Plan
    users: int
    invitations: int

    @property
    def has_room(self) -> bool:
        """Whether one more user may come without an invitation."""
        return self.plan.users is None or self.users + self.invitations < self.plan.users


class Organizations:
    """Reads and changes organizations.

    Args:
        chassis: Of the running app.
    """

    def __init__(self, chassis: Chassis) -> None:
        self._chassis = chassis

    async def get(self, tenant: Tenant) -> Organization:
        """Return the caller's.

        Raises:
            OrganizationNotFound: The tenant was not registered here, or is not ready.
        """
        found = await organizations.get(tenant, tenant.id)
        if found is None or found.status == "provisioning":
            raise OrganizationNotFound
        return found

    async def usage(self, tenant: Tenant) -> Usage:
        """Return how much the caller's has in use.

        Raises:
            OrganizationNotFound: The tenant was not registered here, or is not ready.
        """
        async with tenant.transaction(read_only=True) as tx:
            found = await organizations.get(tx, tenant.id)
            if found is None or found.status == "provisioning":
                raise OrganizationNotFound
            users, invited = await rows.count_users(tx), await invitations.count_open(tx)
        return Usage(plan_named(found.plan), users, invited)

    async def rename(
        self, tx: Transaction, audit: AuditTrail, name: str, if_match: Condition
    ) -> Organization:
        """Call it something else.

        Raises:
            VersionMismatch: It was changed since it was read.
        """
        found = await self._lock(tx)
        if_match.check(found.version)
        if found.name == name:
            return found
        changed = await organizations.change(tx, found.id, "name", name)
        await self._tell(tx, "name", changed, name)
        await audit.record(
            tx,
            "tenant.renamed",
            "organization",
            found.id,
            before={"name": found.name},
            after={"name": name},
        )
        return changed

    async def move(
        self, tx: Transaction, audit: AuditTrail, subdomain: str, if_match: Condition
    ) -> Organization:
        """Give it another subdomain; the one before is kept from others for a while.

        Raises:
            SubdomainTaken, SubdomainReserved: The name is not to be had.
            VersionMismatch: It was changed since it was read.
        """
        if is_reserved(subdomain):
            raise SubdomainReserved
        found = await self._lock(tx)
        if_match.check(found.version)
        if found.subdomain == subdomain:
            return found
        await registrations.admit(tx)
        if not await registrations.take_name(tx, subdomain, found.id):
            raise SubdomainTaken
        await organizations.hold_name(tx, found.id, found.subdomain)
        changed = await organizations.change(tx, found.id, "subdomain", subdomain)
        await self._tell(tx, "subdomain", changed, subdomain)
        before, after = {"subdomain": found.subdomain}, {"subdomain": subdomain}
        await audit.record(tx, "tenant.moved", "organization", found.id, before=before, after=after)
        return changed

    async def choose_plan(self, tenant: str, audit: AuditTrail, name: PlanName) -> Organization:
        """Give an organization another plan.

        Raises:
            OrganizationNotFound: There is none.
            PlanTooSmall: More is in use than the plan has.
        """
        plan = PLANS[name]
        async with self._chassis.tenant(tenant).transaction() as tx:
            found = await self._lock(tx)
            if found.plan == name:
                return found
            used = await rows.count_users(tx) + await invitations.count_open(tx)
            if plan.users is not None and used > plan.users:
                raise PlanTooSmall(plan=name, limits="users", most=plan.users, used=used)
            changed = await organizations.change(tx, tenant, "plan", name)
            await self._tell(tx, "plan", changed, name)
            before, after = {"plan": found.plan}, {"plan": name}
            await audit.record(
                tx, "tenant.plan_changed", "organization", tenant, before=before, after=after
            )
            return changed

    async def _lock(self, tx: Transaction) -> Organization:
        found = await organizations.lock(tx, tx.tenant or "")
        if found is None or found.status == "provisioning":
            raise OrganizationNotFound
        if found.status != "active":
            raise OrganizationBusy(status=found.status)
        return found

    async def _tell(self, tx: Transaction, what: str, changed: Organization, value: str) -> None:
        told = TenantUpdated(what, changed.version, value)
        await self._chassis.outbox.add(tx, told, key=changed.id)
