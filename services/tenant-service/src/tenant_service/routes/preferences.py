"""Routes of what a user decides alone."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel

from mtenant_chassis import (
    CurrentChassis,
    CurrentPrincipal,
    IfMatch,
    Router,
    Tenant,
    authenticated,
    set_etag,
)
from tenant_service.domain.errors import PeopleOnly
from tenant_service.domain.settings import Preferences
from tenant_service.handlers.settings import Settings


class PreferencesView(BaseModel):
    """A user's preferences, and which version they are; 0 if nothing was decided yet."""

    preferences: Preferences
    version: int


def preferences_router() -> Router:
    """Return the routes of preferences."""
    router = Router(prefix="/api/tenants/preferences", tags=["preferences"])

    @router.get("", dependencies=[authenticated()])
    async def get(
        who: CurrentPrincipal, tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> PreferencesView:
        """Return the caller's preferences."""
        if who.kind != "user":
            raise PeopleOnly
        found = await Settings(chassis).get_preferences(tenant, who.id)
        set_etag(response, found.version)
        return PreferencesView(preferences=found.values, version=found.version)

    @router.put("", dependencies=[authenticated()])
    async def put(
        *,
        asked: Preferences,
        who: CurrentPrincipal,
        tenant: Tenant,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> PreferencesView:
        """Replace them; what is left out has its default again."""
        if who.kind != "user":
            raise PeopleOnly
        found = await Settings(chassis).put_preferences(tenant, who.id, asked, if_match)
        set_etag(response, found.version)
        return PreferencesView(preferences=found.values, version=found.version)

    return router
