"""The app: settings in, routes and a worker around the chassis out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from contact_service.queries.custom_fields import HOLDERS
from contact_service.routes.bulk import bulk_router
from contact_service.routes.companies import companies_router, workplaces_router
from contact_service.routes.contacts import contacts_router
from contact_service.routes.export import export_router
from contact_service.routes.imports import imports_router
from contact_service.settings import ContactServiceSettings
from contact_service.subscriptions import subscriptions
from contact_service.worker import working
from mtenant_chassis import App, Settings, audit_router, create_app
from mtenant_chassis.custom_fields import custom_fields_router
from mtenant_chassis.events import EventsOf
from mtenant_chassis.nats import nats_events

SERVICE: Final = "contact-service"
PORT: Final = 8082
VERSION: Final = "0.1.0"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEEDS: Final = {"contact": 1}


def create(
    settings: Settings,
    own: ContactServiceSettings | None = None,
    *,
    events: EventsOf | None = None,
    **parts: Any,
) -> App:
    """Make the app.

    Args:
        settings: Those of every service.
        own: Those of this one; from environment variables by default.
        events: What carries events; by default NATS, by an outbox.
        **parts: Further parts of `mtenant_chassis.create_app`, such as `transport`.

    Raises:
        ConfigError: A setting is wrong.
    """
    mine = ContactServiceSettings.from_env() if own is None else own
    return create_app(
        settings,
        routers=[
            # Before /api/contacts/{contact_id}: their paths are literal.
            audit_router("/api/contacts/audit"),
            export_router(),
            imports_router(mine),
            bulk_router(mine),
            contacts_router(mine),
            companies_router(mine),
            workplaces_router(mine),
            custom_fields_router("/api/custom-fields", HOLDERS),
        ],
        title=SERVICE,
        description="Contacts and companies: search, custom fields, import, export.",
        migrations=MIGRATIONS,
        needs=NEEDS,
        events=events or nats_events(subscriptions),
        startup=lambda chassis: working(chassis, mine),
        **parts,
    )
