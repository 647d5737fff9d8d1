"""The app: settings in, routes and a worker around the chassis out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mtenant_chassis import App, Settings, audit_router, create_app
from tenant_service.routes.invitations import invitations_router
from tenant_service.routes.operators import operators_router
from tenant_service.routes.organizations import organizations_router
from tenant_service.routes.preferences import preferences_router
from tenant_service.routes.registration import registration_router
from tenant_service.routes.services import services_router
from tenant_service.routes.settings import settings_router
from tenant_service.routes.users import users_router
from tenant_service.settings import TenantServiceSettings
from tenant_service.worker import working

SERVICE: Final = "tenant-service"
PORT: Final = 8081
VERSION: Final = "0.1.0"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEEDS: Final = {"tenant": 1}


def make_app(settings: Settings, own: TenantServiceSettings, **parts: Any) -> App:
    """Make the app.

    Args:
        settings: What every service has.
        own: What this one has besides.
        **parts: Others of `create_app`, such as `events`, `keys` and `transport`.
    """
    return create_app(
        settings,
        title="tenant-service",
        description="Organizations: registration, settings, invitations, plans.",
        routers=[
            registration_router(own),
            organizations_router(own),
            settings_router(),
            preferences_router(),
            users_router(),
            invitations_router(own),
            services_router(),
            audit_router("/api/tenants/audit"),
            operators_router(own),
        ],
        migrations=MIGRATIONS,
        needs=NEEDS,
        startup=lambda chassis: working(chassis, own),
        **parts,
    )
