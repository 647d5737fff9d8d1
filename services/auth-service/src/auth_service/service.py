"""Service: everything that the handlers work with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Request

from auth_service.background import Background
from auth_service.domain.client import Client
from auth_service.domain.password import Passwords
from auth_service.domain.refresh_token import RefreshTokens
from auth_service.domain.throttle import Limits
from auth_service.keyring import Keyring, Load
from auth_service.queries.sessions import Changed
from auth_service.settings import AuthServiceSettings
from auth_service.tenants import CALLEE, Tenants
from mtenant_chassis import AccessToken, Chassis, TenantCache, given
from mtenant_database import Tenant

ACCESS_LIFETIME: Final = 600
"""Seconds of an access token. What was decided before is believed for so long where nobody asks."""

SESSION_CACHE: Final = 3600.0
"""Seconds for which a session is kept in the cache; the database is the truth."""

_OWN_LIFETIME: Final = 60
_OWN_SCOPES: Final = ("tenants:read", "invitations:read")


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a running service has.

    Attributes:
        chassis: The parts that every service has.
        settings: Its own settings.
        keyring: Signs.
        passwords: Hashes.
        refresh_tokens: Writes and reads refresh tokens.
        limits: How often is too often.
        clients: The services that get tokens of their own.
        tenants: Asks tenant-service.
        background: Runs what goes on after an answer.
    """

    chassis: Chassis
    settings: AuthServiceSettings
    keyring: Keyring
    passwords: Passwords
    refresh_tokens: RefreshTokens
    limits: Limits
    clients: Mapping[str, Client]
    tenants: Tenants
    background: Background

    def tenant(self, tenant: str) -> Tenant:
        """Return the handle of a tenant."""
        return self.chassis.tenant(tenant)

    @property
    def callees(self) -> frozenset[str]:
        """The services for whose calls there are tokens."""
        return frozenset((self.chassis.settings.service, CALLEE, *self.clients))

    def session_cache(self, tenant: str) -> TenantCache | None:
        """Return the cache of sessions; None without a shared one.

        A cache of this process's own would not hear of what another process ends.
        """
        if self.chassis.settings.redis_url is None:
            return None
        return self.chassis.cache.tenant(tenant, "session", seconds=SESSION_CACHE)

    async def forget(self, tenant: str, sessions: Iterable[Changed]) -> None:
        """Forget what the cache has of sessions; call it after the commit of their change."""
        cache = self.session_cache(tenant)
        if cache is not None:
            for one in sessions:
                await cache.invalidate(str(one.id), one.version)


def _own_token(keyring: Keyring, issuer: str, service: str, tenant: str | None) -> str:
    return keyring.sign(
        AccessToken(
            subject=service,
            issuer=issuer,
            audience=CALLEE,
            expires=time.time() + _OWN_LIFETIME,
            tenant=tenant,
            scopes=_OWN_SCOPES,
            kind="service",
        )
    )


@asynccontextmanager
async def open_service(
    chassis: Chassis,
    settings: AuthServiceSettings,
    keyring: Keyring,
    *,
    load: Load,
    refresh_key: bytes,
) -> AsyncIterator[Service]:
    """Open what the service has besides the chassis.

    Args:
        chassis: Open.
        settings: The service's own.
        keyring: Filled here.
        load: Reads the signing keys.
        refresh_key: With which refresh tokens are made.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(keyring.open(load))
        passwords = await stack.enter_async_context(
            Passwords(
                memory=int(settings.password_memory),
                passes=settings.password_passes,
                workers=settings.password_workers,
            )
        )
        issuer, name = chassis.settings.auth.issuer, chassis.settings.service
        yield Service(
            chassis=chassis,
            settings=settings,
            keyring=keyring,
            passwords=passwords,
            refresh_tokens=RefreshTokens(refresh_key),
            limits=Limits.of(account=settings.account_attempts, address=settings.address_attempts),
            clients=settings.known_clients(),
            tenants=Tenants(
                chassis.service(CALLEE), lambda tenant: _own_token(keyring, issuer, name, tenant)
            ),
            background=await stack.enter_async_context(Background()),
        )


async def _service(request: Request) -> Service:
    service: Service = request.app.state.auth
    return service


CurrentService = Annotated[Service, given(_service)]
"""The service, as a parameter of a route."""
