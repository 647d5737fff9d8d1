"""POST /api/auth/login, /refresh, /logout."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field

from auth_service.domain.email import Email
from auth_service.domain.password import Password
from auth_service.handlers import login as handlers
from auth_service.routes.answer import NoStore, TokenAnswer
from auth_service.routes.request import Body, CurrentDevice, CurrentPerson, TenantId, tenant_of
from auth_service.service import CurrentService
from mtenant_chassis import Audit, Router, Tenant, authenticated, public, raises

router = Router(prefix="/api/auth", tags=["login"])


class Credentials(Body):
    """Who somebody says they are."""

    tenant: TenantId | None = Field(default=None, description="unless the host name says it")
    email: Email
    password: Password


class Refresh(Body):
    """The newest refresh token of a login."""

    refresh_token: str = Field(min_length=1, max_length=256)


@router.post("/login", dependencies=[public()], responses=raises(401, 403, 404))
async def login(
    request: Request,
    body: Credentials,
    service: CurrentService,
    device: CurrentDevice,
    audit: Audit,
    _: NoStore,
) -> TokenAnswer:
    """Open a session: an access token of ten minutes, and a refresh token for the next one."""
    issued = await handlers.login(
        service,
        await tenant_of(request, service, body.tenant),
        body.email,
        body.password,
        device=device,
        audit=audit,
    )
    return TokenAnswer.of(issued)


@router.post("/refresh", dependencies=[public()], responses=raises(401, 403))
async def refresh(body: Refresh, service: CurrentService, audit: Audit, _: NoStore) -> TokenAnswer:
    """Get the next access token, and the next refresh token: the one that is sent works no more.

    The same request within ten seconds gets the same refresh token again. A token that was used before
    ends the session.
    """
    return TokenAnswer.of(await handlers.refresh(service, body.refresh_token, audit=audit))


@router.post("/logout", status_code=204, dependencies=[authenticated()])
async def logout(
    service: CurrentService, person: CurrentPerson, tenant: Tenant, audit: Audit
) -> None:
    """End the session of the token that is sent."""
    await handlers.logout(service, tenant, person.id, person.session, audit=audit)
