"""Access tokens: for people who log in, for services, for API keys; and whether one is good."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from auth_service.domain.api_key import ApiKeyId, digest_of
from auth_service.domain.client import NOBODY
from auth_service.domain.errors import AudienceUnknown, ClientUnknown
from auth_service.queries import api_keys, sessions
from auth_service.service import ACCESS_LIFETIME, Service
from mtenant_chassis import AccessToken, Cached
from mtenant_chassis.auth import InvalidToken
from mtenant_database import TenantNotFound
from mtenant_database.tenant_id import check_tenant_id


@dataclass(frozen=True)
class Issued:
    """An access token, and what comes with it.

    Attributes:
        access_token: Its text.
        refresh_token: What gets the next one; None for services and API keys.
        expires_in: Its lifetime in seconds.
    """

    access_token: str
    refresh_token: str | None = None
    expires_in: int = ACCESS_LIFETIME


def person_token(
    service: Service,
    tenant: str,
    user_id: UUID,
    role: str,
    session: UUID,
    *,
    scopes: tuple[str, ...] | None = None,
) -> str:
    """Return an access token of a person, or of a key of theirs.

    Args:
        service: Signs it.
        tenant: The tenant's id.
        user_id: Who.
        role: As what.
        session: The login's id, or the key's.
        scopes: What it is limited to, for a key.
    """
    auth = service.chassis.settings.auth
    return service.keyring.sign(
        AccessToken(
            subject=str(user_id),
            issuer=auth.issuer,
            audience=auth.audience,
            expires=time.time() + ACCESS_LIFETIME,
            tenant=tenant,
            roles=(role,),
            scopes=scopes,
            session=str(session),
        )
    )


async def for_client(
    service: Service, client_id: str, secret: str, *, audience: str | None, tenant: str | None
) -> Issued:
    """Return a token of a service or of an API key (RFC 6749, 4.4).

    Args:
        service: Signs it.
        client_id: The service's name, or the key's id.
        secret: What only the client knows.
        audience: The service that is to be called. API keys name none: theirs are good everywhere.
        tenant: For which tenant a service acts.

    Raises:
        ClientUnknown: The id or the secret is wrong, or the key has ended.
        AudienceUnknown: A service names none that there is.
    """
    key = ApiKeyId.read(client_id)
    if key is not None:
        return await _for_key(service, key, secret)
    client = service.clients.get(client_id, NOBODY)
    if not client.knows(secret):
        raise ClientUnknown
    if audience not in service.callees:
        raise AudienceUnknown
    token = AccessToken(
        subject=client.name,
        issuer=service.chassis.settings.auth.issuer,
        audience=audience,
        expires=time.time() + ACCESS_LIFETIME,
        tenant=None if tenant is None else check_tenant_id(tenant),
        scopes=client.scopes,
        kind="service",
    )
    return Issued(service.keyring.sign(token))


async def _for_key(service: Service, key: ApiKeyId, secret: str) -> Issued:
    tenant = service.tenant(key.tenant)
    try:
        state = await api_keys.state(tenant, key.id)
    except TenantNotFound:
        state = None
    known = bytes(32) if state is None else bytes(state.digest)
    if not hmac.compare_digest(digest_of(secret), known) or state is None:
        raise ClientUnknown
    await api_keys.note_use(tenant, key.id)
    scopes = tuple(state.scopes)
    return Issued(
        person_token(service, key.tenant, state.user_id, state.role, key.id, scopes=scopes)
    )


async def check(service: Service, text: str) -> AccessToken:
    """Return what a token says now: a session that is over ends it, and the role is the present one.

    Raises:
        InvalidToken: It is not good, or not any more.
    """
    auth = service.chassis.settings.auth
    audiences = (auth.audience, *service.callees)
    said = await service.keyring.read(text, audiences=audiences, issuer=auth.issuer)
    if said.kind == "service":
        return said
    if said.tenant is None or said.session is None:
        raise InvalidToken(internal="a person's token without a tenant or a session")
    session = UUID(said.session)
    role = await _live_role(service, said.tenant, session, key=said.scopes is not None)
    if role is None:
        raise InvalidToken(internal="its session is over")
    return replace(said, roles=(role,))


async def _live_role(service: Service, tenant: str, session: UUID, *, key: bool) -> str | None:
    handle = service.tenant(tenant)
    try:
        if key:
            found = await api_keys.state(handle, session)
            return None if found is None else found.role
        state = await _session(service, tenant, session)
    except TenantNotFound:
        return None
    if state is None or not state["alive"] or state["expires"] <= time.time():
        return None
    return str(state["role"])


async def _session(service: Service, tenant: str, session: UUID) -> Any:
    async def load() -> Cached | None:
        state = await sessions.state(service.tenant(tenant), session)
        if state is None:
            return None
        value = {
            "role": state.role,
            "alive": state.alive,
            "expires": state.expires_at.timestamp(),
        }
        return Cached(state.version, value)

    cache = service.session_cache(tenant)
    if cache is not None:
        return await cache.get(str(session), load)
    loaded = await load()
    return None if loaded is None else loaded.value
