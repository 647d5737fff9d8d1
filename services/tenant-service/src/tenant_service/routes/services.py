"""Routes that other services ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel

from mtenant_chassis import CurrentChassis, Router, Tenant, services_only
from tenant_service.domain.errors import OrganizationNotFound
from tenant_service.domain.subdomain import is_subdomain
from tenant_service.handlers.organizations import Organizations
from tenant_service.handlers.settings import Settings
from tenant_service.queries import organization as organizations


class TenantOfSubdomain(BaseModel):
    """Whose subdomain it is."""

    id: str


class RegistrationPolicy(BaseModel):
    """Who may make an account in a tenant."""

    open_registration: bool


def services_router() -> Router:
    """Return the routes for services."""
    router = Router(prefix="/api/tenants", tags=["services"])

    @router.get("/by-subdomain/{subdomain}", dependencies=[services_only("tenants:read")])
    async def by_subdomain(
        subdomain: Annotated[str, Path(max_length=253)], chassis: CurrentChassis
    ) -> TenantOfSubdomain:
        """Return the tenant of a subdomain, one that is suspended, too; what is none is nobody's."""
        name = subdomain.lower()
        shared = chassis.database.shared()
        found = await organizations.find(shared, name) if is_subdomain(name) else None
        if found is None:
            raise OrganizationNotFound
        return TenantOfSubdomain(id=found)

    @router.get("/registration", dependencies=[services_only("tenants:read")])
    async def registration(tenant: Tenant, chassis: CurrentChassis) -> RegistrationPolicy:
        """Tell whether people may make an account without an invitation; not where the plan is full."""
        found = await Settings(chassis).get(tenant)
        is_open = found.values.open_registration
        if is_open:
            is_open = (await Organizations(chassis).usage(tenant)).has_room
        return RegistrationPolicy(open_registration=is_open)

    return router
