"""The app: settings in, routes around the chassis out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from deal_service.queries.custom_fields import HOLDERS
from deal_service.routes.bulk import bulk_router
from deal_service.routes.contacts import contacts_router
from deal_service.routes.deals import deals_router
from deal_service.routes.lost_reasons import lost_reasons_router
from deal_service.routes.numbers import numbers_router
from deal_service.routes.pipelines import pipelines_router
from deal_service.settings import DealServiceSettings
from deal_service.subscriptions import subscriptions
from mtenant_chassis import App, Chassis, Settings, audit_router, create_app
from mtenant_chassis.custom_fields import custom_fields_router
from mtenant_chassis.events import EventsOf
from mtenant_chassis.nats import nats_events
from mtenant_config import ConfigError, Problem

SERVICE: Final = "deal-service"
PORT: Final = 8083
VERSION: Final = "0.1.0"
CALLS: Final = ("auth-service", "contact-service")
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEEDS: Final = {"deal": 2}


def create(
    settings: Settings,
    own: DealServiceSettings | None = None,
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
    mine = DealServiceSettings.from_env() if own is None else own
    return create_app(
        settings,
        # What has a name of its own comes before /api/deals/{deal_id}.
        routers=[
            numbers_router(),
            bulk_router(mine),
            audit_router("/api/deals/audit"),
            custom_fields_router("/api/deals/custom-fields", HOLDERS),
            deals_router(mine),
            contacts_router(mine),
            pipelines_router(),
            lost_reasons_router(),
        ],
        title=SERVICE,
        description="Deals: pipelines, stages, custom fields, forecast, analytics.",
        migrations=MIGRATIONS,
        needs=NEEDS,
        events=events or nats_events(subscriptions),
        startup=_known_to_others,
        **parts,
    )


@asynccontextmanager
async def _known_to_others(chassis: Chassis) -> AsyncIterator[None]:
    # Without it neither contact-service nor auth-service would answer.
    if chassis.settings.auth.client_secret is None:
        why = "missing, expected the secret by which auth-service knows this service"
        raise ConfigError([Problem("SERVICE_CLIENT_SECRET", "missing", why)])
    yield
