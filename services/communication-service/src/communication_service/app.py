"""The app: settings in, routes and a scheduler around the chassis out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from communication_service.handlers.emails import Emails
from communication_service.routes.activities import activities_router
from communication_service.routes.development import development_router
from communication_service.routes.emails import emails_router
from communication_service.routes.tasks import tasks_router
from communication_service.routes.templates import templates_router
from communication_service.routes.tracking import tracking_router
from communication_service.scheduler import scheduling
from communication_service.settings import CommunicationServiceSettings
from communication_service.subscriptions import subscriptions
from mtenant_chassis import App, Settings, audit_router, create_app
from mtenant_chassis.events import EventsOf
from mtenant_chassis.nats import nats_events

SERVICE: Final = "communication-service"
PORT: Final = 8084
VERSION: Final = "0.1.0"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEEDS: Final = {"communication": 1}


def create(
    settings: Settings,
    own: CommunicationServiceSettings | None = None,
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
    mine = CommunicationServiceSettings.from_env() if own is None else own
    routers = [
        audit_router("/api/emails/audit"),
        templates_router(),
        emails_router(mine),
        activities_router(),
        tasks_router(mine),
        tracking_router(mine),
    ]
    if settings.is_development and settings.mail.directory is not None:
        routers.append(development_router(settings.mail.directory))
    return create_app(
        settings,
        routers=routers,
        title=SERVICE,
        description="Communication: activities, timelines, tasks, templates, mail that is tracked.",
        migrations=MIGRATIONS,
        needs=NEEDS,
        events=events or nats_events(lambda chassis: subscriptions(chassis, mine)),
        startup=lambda chassis: scheduling(chassis, mine),
        mailed=lambda chassis, tx, outcome: Emails(chassis, mine).ended(tx, outcome),
        **parts,
    )
