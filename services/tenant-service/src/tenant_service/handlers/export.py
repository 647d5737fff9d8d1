"""An export of what this service has of a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtenant_chassis import AuditTrail
from mtenant_database import Transaction
from tenant_service.domain.errors import OrganizationBusy, OrganizationNotFound
from tenant_service.domain.invitation import Invitation
from tenant_service.domain.organization import Organization
from tenant_service.domain.settings import Preferences, TenantSettings
from tenant_service.queries import invitation as invitations
from tenant_service.queries import organization as organizations
from tenant_service.queries import settings as rows


@dataclass(frozen=True)
class Exported:
    """All of it.

    Attributes:
        organization: The organization.
        settings: What it has decided.
        preferences: What its users have, by their ids.
        invitations: All that it made; of their tokens there is nothing.
    """

    organization: Organization
    settings: TenantSettings
    preferences: Sequence[tuple[str, Preferences]]
    invitations: Sequence[Invitation]


async def export_of(tx: Transaction, audit: AuditTrail) -> Exported:
    """Return the caller's, and note that it was exported: it may be deleted now.

    Raises:
        OrganizationNotFound: The tenant was not registered here.
        OrganizationBusy: It is not active.
    """
    found = await organizations.lock(tx, tx.tenant or "")
    if found is None or found.status == "provisioning":
        raise OrganizationNotFound
    if found.status != "active":
        raise OrganizationBusy(status=found.status)
    settings = await rows.settings(tx)
    people = await rows.all_preferences(tx)
    made = await invitations.everything(tx)
    await organizations.note_export(tx, found.id)
    await audit.record(tx, "tenant.exported", "organization", found.id)
    return Exported(
        found,
        TenantSettings.of_row(settings.values),
        [(user, Preferences.of_row(values)) for user, values in people],
        made,
    )
