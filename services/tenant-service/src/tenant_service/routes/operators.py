"""Routes for whoever operates the platform: with a service's token, for any tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict

from mtenant_chassis import Audit, CurrentChassis, Router, raises, services_only
from tenant_service.domain.errors import OrganizationNotFound
from tenant_service.domain.plan import PlanName
from tenant_service.handlers.lifecycle import Lifecycle
from tenant_service.handlers.organizations import Organizations
from tenant_service.queries import organization as organizations
from tenant_service.routes.organizations import OrganizationView
from tenant_service.settings import TenantServiceSettings

TenantId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_]{0,55}$")]


class ChosenPlan(BaseModel):
    """The plan of an organization from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)
    plan: PlanName


def operators_router(own: TenantServiceSettings) -> Router:
    """Return the routes for operators."""
    router = Router(prefix="/api/tenants", tags=["operators"])

    @router.get("/{tenant_id}", dependencies=[services_only("tenants:manage")])
    async def get(tenant_id: TenantId, chassis: CurrentChassis) -> OrganizationView:
        """Return an organization."""
        found = await organizations.get(chassis.database.shared(), tenant_id)
        if found is None:
            raise OrganizationNotFound
        return OrganizationView.of(found)

    @router.put(
        "/{tenant_id}/plan",
        dependencies=[services_only("tenants:manage")],
        responses=raises(409),
    )
    async def choose_plan(
        tenant_id: TenantId, asked: ChosenPlan, audit: Audit, chassis: CurrentChassis
    ) -> OrganizationView:
        """Give an organization another plan."""
        changed = await Organizations(chassis).choose_plan(tenant_id, audit, asked.plan)
        return OrganizationView.of(changed)

    @router.post(
        "/{tenant_id}/suspend",
        dependencies=[services_only("tenants:manage")],
        responses=raises(409),
    )
    async def suspend(
        tenant_id: TenantId, audit: Audit, chassis: CurrentChassis
    ) -> OrganizationView:
        """Lock everybody out, in force with their next statement; nothing is lost."""
        return OrganizationView.of(await Lifecycle(chassis, own).suspend(tenant_id, audit))

    @router.post(
        "/{tenant_id}/reactivate",
        dependencies=[services_only("tenants:manage")],
        responses=raises(409),
    )
    async def reactivate(
        tenant_id: TenantId, audit: Audit, chassis: CurrentChassis
    ) -> OrganizationView:
        """Let everybody in again."""
        return OrganizationView.of(await Lifecycle(chassis, own).reactivate(tenant_id, audit))

    return router
