"""create: the app of the service, from settings."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from auth_service.domain.signing_key import Seal
from auth_service.handlers.signing_keys import given_keys, passing_keys, stored_keys
from auth_service.keyring import Keyring, Load, LoadedKeys
from auth_service.routes import routers
from auth_service.service import open_service
from auth_service.settings import AuthServiceSettings, missing_secret
from mtenant_chassis import App, Chassis, Settings, create_app
from mtenant_chassis.events import EventsOf
from mtenant_chassis.nats import nats_events
from mtenant_config import ConfigError, Problem

MIGRATIONS: Final = Path(__file__).parent / "migrations"
"""The component `auth`: `shared/` once, `tenant/` in each tenant's schema."""

_DESCRIPTION: Final = "Accounts, logins and tokens. A tenant's accounts are its own."


def create(
    settings: Settings,
    own: AuthServiceSettings | None = None,
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
        ConfigError: A setting is wrong, or outside of development there is no secret.
    """
    mine = AuthServiceSettings.from_environ() if own is None else own
    if mine.secret is None and not settings.is_development:
        raise missing_secret()
    keyring = Keyring()
    given = _given(mine)
    app: App

    @asynccontextmanager
    async def startup(chassis: Chassis) -> AsyncIterator[None]:
        async with open_service(
            chassis,
            mine,
            keyring,
            load=_load(chassis, mine, given),
            refresh_key=_refresh_key(mine),
        ) as service:
            app.state.auth = service
            yield

    app = create_app(
        settings,
        routers=routers(),
        title="auth-service",
        description=_DESCRIPTION,
        migrations=MIGRATIONS,
        keys=keyring,
        events=events or nats_events(),
        startup=startup,
        **parts,
    )
    return app


def _given(own: AuthServiceSettings) -> LoadedKeys | None:
    if own.signing_keys is None:
        return None
    try:
        return given_keys(own.signing_keys.reveal())
    except ValueError as exc:
        raise ConfigError([Problem("AUTH_SIGNING_KEYS", "invalid", str(exc))]) from None


def _load(chassis: Chassis, own: AuthServiceSettings, given: LoadedKeys | None) -> Load:
    if given is None and own.secret is None:
        given = passing_keys()
    if given is not None:
        kept = given

        async def load_given() -> LoadedKeys:
            return kept

        return load_given
    seal = Seal(own.key_for("signing keys"))

    async def load_stored() -> LoadedKeys:
        shared = chassis.database.shared()
        return await stored_keys(shared, seal, rotation=own.key_rotation)

    return load_stored


def _refresh_key(own: AuthServiceSettings) -> bytes:
    return secrets.token_bytes(32) if own.secret is None else own.key_for("refresh tokens")
