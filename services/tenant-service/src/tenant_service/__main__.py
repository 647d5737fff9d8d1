"""`python -m tenant_service [serve|migrate|openapi]`."""

from __future__ import annotations

from mtenant_chassis import App, Settings, main
from mtenant_chassis.nats import nats_events
from tenant_service.app import MIGRATIONS, PORT, SERVICE, VERSION, make_app
from tenant_service.settings import TenantServiceSettings
from tenant_service.subscriptions import subscriptions


def create(settings: Settings) -> App:
    """Make the app as it runs in production."""
    own = TenantServiceSettings.from_env()
    events = nats_events(lambda chassis: subscriptions(chassis, own))
    return make_app(settings, own, events=events)


def run() -> int:
    """Be the command."""
    return main(SERVICE, create, port=PORT, version=VERSION, migrations=MIGRATIONS)


if __name__ == "__main__":
    raise SystemExit(run())
