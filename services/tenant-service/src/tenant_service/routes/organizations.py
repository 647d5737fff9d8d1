"""Routes of the caller's own organization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict

from mtenant_chassis import (
    Audit,
    CurrentChassis,
    IfMatch,
    Router,
    Tenant,
    Tx,
    raises,
    requires,
    set_etag,
)
from tenant_service.domain.organization import Organization, OrganizationStatus
from tenant_service.domain.person import Name
from tenant_service.domain.plan import plan_named
from tenant_service.domain.settings import TenantSettings
from tenant_service.domain.subdomain import LONGEST, Subdomain
from tenant_service.handlers.export import export_of
from tenant_service.handlers.lifecycle import Lifecycle
from tenant_service.handlers.organizations import Organizations
from tenant_service.routes.invitations import InvitationView
from tenant_service.settings import TenantServiceSettings


class PlanView(BaseModel):
    """A plan; null is no limit."""

    name: str
    users: int | None


class OrganizationView(BaseModel):
    """An organization; its id is the tenant's."""

    id: str
    name: str
    subdomain: str
    plan: PlanView
    status: OrganizationStatus
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Organization) -> OrganizationView:
        """Return what may be seen of an organization."""
        plan = plan_named(one.plan)
        return cls(
            id=one.id,
            name=one.name,
            subdomain=one.subdomain,
            plan=PlanView(name=plan.name, users=plan.users),
            status=one.status,
            created_at=one.created_at,
            updated_at=one.updated_at,
            version=one.version,
        )


class Rename(BaseModel):
    """What an organization is called from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Name


class Move(BaseModel):
    """Where an organization is found from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)
    subdomain: Subdomain


class UsageView(BaseModel):
    """How much is in use; open invitations count as users."""

    plan: PlanView
    users: int
    invitations: int


class PreferencesOfUser(BaseModel):
    """A user's preferences, exported."""

    user_id: str
    preferences: dict[str, Any]


class Export(BaseModel):
    """What this service has of an organization."""

    exported_at: datetime
    organization: OrganizationView
    settings: TenantSettings
    preferences: Sequence[PreferencesOfUser]
    invitations: Sequence[InvitationView]


class Deletion(BaseModel):
    """A deletion that has begun."""

    id: str
    status: OrganizationStatus


def organizations_router(own: TenantServiceSettings) -> Router:
    """Return the routes of organizations."""
    router = Router(prefix="/api/tenants", tags=["organization"])

    @router.get("/current", dependencies=[requires("tenants:read")])
    async def current(
        tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> OrganizationView:
        """Return the caller's organization."""
        one = await Organizations(chassis).get(tenant)
        set_etag(response, one.version)
        return OrganizationView.of(one)

    @router.patch("/current", dependencies=[requires("tenants:manage")], responses=raises(409))
    async def rename(
        *,
        asked: Rename,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> OrganizationView:
        """Call it something else."""
        one = await Organizations(chassis).rename(tx, audit, asked.name, if_match)
        set_etag(response, one.version)
        return OrganizationView.of(one)

    @router.put("/current/subdomain", dependencies=[requires("tenants:own")], responses=raises(409))
    async def move(
        *,
        asked: Move,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> OrganizationView:
        """Give it another subdomain; nobody else gets the one before for 30 days."""
        one = await Organizations(chassis).move(tx, audit, asked.subdomain, if_match)
        set_etag(response, one.version)
        return OrganizationView.of(one)

    @router.get("/usage", dependencies=[requires("tenants:read")])
    async def usage(tenant: Tenant, chassis: CurrentChassis) -> UsageView:
        """Return what the plan has, and how much of it is in use."""
        one = await Organizations(chassis).usage(tenant)
        plan = PlanView(name=one.plan.name, users=one.plan.users)
        return UsageView(plan=plan, users=one.users, invitations=one.invitations)

    @router.post("/current/export", dependencies=[requires("tenants:own")], responses=raises(409))
    async def export(tx: Tx, audit: Audit) -> Export:
        """Return what this service has of it; the other services export what they have."""
        found = await export_of(tx, audit)
        return Export(
            exported_at=datetime.now(UTC),
            organization=OrganizationView.of(found.organization),
            settings=found.settings,
            preferences=[
                PreferencesOfUser(user_id=user, preferences=values.model_dump())
                for user, values in found.preferences
            ],
            invitations=[InvitationView.of(one) for one in found.invitations],
        )

    @router.delete(
        "/current",
        status_code=202,
        dependencies=[requires("tenants:own")],
        responses=raises(409, 422),
    )
    async def delete(
        tenant: Tenant,
        audit: Audit,
        chassis: CurrentChassis,
        confirm: Annotated[
            str, Query(max_length=LONGEST, description="the subdomain of the organization")
        ],
    ) -> Deletion:
        """Delete it with all of its data, within 24 hours of an export. There is no way back."""
        await Lifecycle(chassis, own).delete(tenant.id, confirm, audit)
        return Deletion(id=tenant.id, status="deleting")

    return router
