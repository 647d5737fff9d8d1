"""Suspension, its end, and deletion: first what is wanted is written down, then it is brought about.

Both cannot be one transaction, since schemas are locked and dropped under another role. A process that dies
between them leaves a status that is on its way, and a worker brings it about.
"""

from __future__ import annotations

from contextlib import suppress

from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import TenantSuspended
from mtenant_database.migrate import UnknownTenant, drop, resume, suspend
from mtenant_errors import AppError
from mtenant_logger import current_request_id, get_logger
from tenant_service.domain.errors import (
    ConfirmationWrong,
    ExportMissing,
    OrganizationBusy,
    OrganizationNotFound,
)
from tenant_service.domain.event import TenantUpdated
from tenant_service.domain.organization import Organization, OrganizationStatus
from tenant_service.handlers.registration import provisioning_url
from tenant_service.queries import organization as organizations
from tenant_service.queries import registration as registrations
from tenant_service.queries import removal as removals
from tenant_service.settings import TenantServiceSettings

log = get_logger(__name__)


class Lifecycle:
    """Changes the status of organizations.

    Args:
        chassis: Of the running app.
        own: Says as whom schemas are locked and dropped.
    """

    def __init__(self, chassis: Chassis, own: TenantServiceSettings) -> None:
        self._chassis = chassis
        self._own = own
        self._shared = chassis.database.shared()
        self._migrate = chassis.settings.migrate

    async def suspend(self, tenant: str, audit: AuditTrail) -> Organization:
        """Let nobody of a tenant do anything, from their next statement on.

        Raises:
            OrganizationNotFound: There is no such organization.
            OrganizationBusy: It is neither active nor suspended.
        """
        found = await self._get(tenant)
        if found.status == "suspended":
            return found
        if found.status == "active":
            try:
                await self._begin_suspension(tenant, audit)
            except TenantSuspended:  # somebody did it by hand: it becomes known here, too
                await self._move(tenant, to="suspending", of="active")
        elif found.status != "suspending":
            raise OrganizationBusy(status=found.status)
        await self.bring_about(tenant, "suspending")
        return await self._get(tenant)

    async def reactivate(self, tenant: str, audit: AuditTrail) -> Organization:
        """Let them in again.

        Raises:
            OrganizationNotFound: There is no such organization.
            OrganizationBusy: It is neither suspended nor active.
        """
        found = await self._get(tenant)
        if found.status == "suspended":
            await self._move(tenant, to="reactivating", of="suspended")
        elif found.status not in {"reactivating", "active"}:  # active: it may be locked by hand
            raise OrganizationBusy(status=found.status)
        await self.bring_about(tenant, "reactivating", audit)
        return await self._get(tenant)

    async def delete(self, tenant: str, confirm: str, audit: AuditTrail) -> None:
        """Begin to delete a tenant with all of its data; its subdomain is kept from others for a while.

        Raises:
            OrganizationNotFound: There is no such organization.
            OrganizationBusy: It is not active.
            ConfirmationWrong: `confirm` is not its subdomain.
            ExportMissing: Its data was not exported in the last 24 hours.
        """
        async with self._chassis.tenant(tenant).transaction() as tx:
            found = await organizations.lock(tx, tenant)
            if found is None:
                raise OrganizationNotFound
            if found.status != "active":
                raise OrganizationBusy(status=found.status)
            if confirm != found.subdomain:
                raise ConfirmationWrong
            if not await organizations.may_be_deleted(tx, tenant):
                raise ExportMissing
            moved = await organizations.move(tx, tenant, to="deleting", of="active")
            if moved is None:
                raise OrganizationBusy(status="changing")
            await registrations.admit(tx)
            await organizations.hold_names(tx, tenant)
            await removals.add(tx, tenant)
            await self._tell(tx, moved, "deleting")
            await audit.record(tx, "tenant.deleted", "organization", tenant)

    async def bring_about(
        self, tenant: str, status: OrganizationStatus, audit: AuditTrail | None = None
    ) -> None:
        """Do what a status that is on its way asks for; a second time nothing happens."""
        url = provisioning_url(self._chassis, self._own)
        if status == "suspending":
            with suppress(UnknownTenant):
                await suspend(url, tenant, settings=self._migrate)
            await self._move(tenant, to="suspended", of="suspending")
        elif status == "reactivating":
            with suppress(UnknownTenant):
                await resume(url, tenant, settings=self._migrate)
            await self._end_suspension(tenant, audit)
        elif status == "deleting":
            with suppress(UnknownTenant):
                await drop(url, tenant, settings=self._migrate)

    async def finish_some(self) -> bool:
        """Bring about what is on its way; tell whether there was anything."""
        found = await organizations.on_their_way(self._shared)
        done = False
        for tenant, status in found:
            try:
                await self.bring_about(tenant, status)
            except AppError as exc:  # one that fails holds no other up
                log.warning("a tenant's status fails", err=exc, tenant=tenant, status=status)
            else:
                done = True
        return done

    async def forget_some(self) -> None:
        """Delete the events of tenants that are gone, and for a while what comes late of them."""
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            gone = await removals.due(tx)
        for tenant in gone:
            try:
                await self._chassis.forget_events(tenant)
            except AppError as exc:  # NATS is away: its events are found again
                log.warning("a tenant's events cannot be deleted now", err=exc, tenant=tenant)
                return
            async with self._shared.transaction() as tx:
                await registrations.admit(tx)
                await removals.put_off(tx, tenant)

    async def _begin_suspension(self, tenant: str, audit: AuditTrail) -> None:
        async with self._chassis.tenant(tenant).transaction() as tx:
            moved = await organizations.move(tx, tenant, to="suspending", of="active")
            if moved is not None:
                await self._tell(tx, moved, "suspended")
                await audit.record(tx, "tenant.suspended", "organization", tenant)

    async def _end_suspension(self, tenant: str, audit: AuditTrail | None) -> None:
        service = self._chassis.settings.service
        audit = audit or AuditTrail(service, f"service:{service}", current_request_id())
        async with self._chassis.tenant(tenant).transaction() as tx:
            moved = await organizations.move(tx, tenant, to="active", of="reactivating")
            if moved is not None:
                await self._tell(tx, moved, "active")
                await audit.record(tx, "tenant.reactivated", "organization", tenant)

    async def _tell(self, tx: object, moved: Organization, status: str) -> None:
        told = TenantUpdated("status", moved.version, status)
        await self._chassis.outbox.add(tx, told, key=moved.id)

    async def _move(self, tenant: str, *, to: OrganizationStatus, of: OrganizationStatus) -> None:
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            await organizations.move(tx, tenant, to=to, of=of)

    async def _get(self, tenant: str) -> Organization:
        found = await organizations.get(self._shared, tenant)
        if found is None or found.status in {"provisioning", "deleting"}:
            raise OrganizationNotFound
        return found
