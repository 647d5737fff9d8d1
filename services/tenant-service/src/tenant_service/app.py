"""The app: settings in, routes and a worker around the chassis out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mtenant_chassis import App, Settings, audit_router, create_app
from mtenant_chassis.events import EventsOf
from mtenant_chassis.nats import nats_events
from tenant_service.routes.invitations import invitations_router
from tenant_service.routes.operators import operators_router
from tenant_service.routes.organizations import organizations_router
from tenant_service.routes.preferences import preferences_router
from tenant_service.routes.registration import registration_router
from tenant_service.routes.services import services_router
from tenant_service.routes.settings import settings_router
from tenant_service.routes.users import users_router
from tenant_service.settings import TenantServiceSettings
from tenant_service.subscriptions import subscriptions
from tenant_service.worker import working

SERVICE: Final = "tenant-service"
PORT: Final = 8081
VERSION: Final = "0.1.0"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEEDS: Final = {"tenant": 1}


def create(
    settings: Settings,
    own: TenantServiceSettings | None = None,
    *,
    events: EventsOf | None = None,
    **parts: Any,
) -> App:
    """Make the app.

    Args:
        settings: Those of every service.
        own: Those of this one; from environment variables by default.
        events: What carries events; by default NATS, by an outbox.
        **parts: Further parts of `mtenant_chassis.create_app`, such as `mail`.

    Raises:
        ConfigError: A setting is wrong.
    """
    mine = TenantServiceSettings.from_env() if own is None else own
    return create_app(
        settings,
        routers=[
            registration_router(mine),
            organizations_router(mine),
            settings_router(),
            preferences_router(),
            users_router(),
            invitations_router(mine),
            services_router(),
            audit_router("/api/tenants/audit"),
            operators_router(mine),
        ],
        title=SERVICE,
        description="Organizations: registration, settings, invitations, plans.",
        migrations=MIGRATIONS,
        needs=NEEDS,
        events=events or nats_events(lambda chassis: subscriptions(chassis, mine)),
        startup=lambda chassis: working(chassis, mine),
        **parts,
    )
