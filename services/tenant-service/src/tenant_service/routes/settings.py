"""Routes of what a tenant decides for all of its users."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from mtenant_chassis import (
    Audit,
    CurrentChassis,
    IfMatch,
    Router,
    Tenant,
    authenticated,
    requires,
    set_etag,
    set_static,
)
from tenant_service.domain.settings import TenantSettings
from tenant_service.handlers.settings import Settings


class SettingsView(BaseModel):
    """A tenant's settings, and which version they are."""

    settings: TenantSettings
    version: int


def settings_router() -> Router:
    """Return the routes of settings."""
    router = Router(prefix="/api/tenants/settings", tags=["settings"])

    @router.get("", dependencies=[requires("settings:read")])
    async def get(tenant: Tenant, chassis: CurrentChassis, response: Response) -> SettingsView:
        """Return the tenant's settings."""
        found = await Settings(chassis).get(tenant)
        set_etag(response, found.version)
        return SettingsView(settings=found.values, version=found.version)

    @router.put("", dependencies=[requires("settings:manage")])
    async def put(
        *,
        asked: TenantSettings,
        tenant: Tenant,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> SettingsView:
        """Replace them; what is left out has its default again."""
        found = await Settings(chassis).put(tenant, audit, asked, if_match)
        set_etag(response, found.version)
        return SettingsView(settings=found.values, version=found.version)

    @router.get("/schema", dependencies=[authenticated()])
    async def schema(response: Response) -> dict[str, Any]:
        """Return the JSON Schema of the settings, for forms."""
        document = TenantSettings.model_json_schema()
        set_static(response, json.dumps(document).encode(), seconds=3600)
        return document

    return router
