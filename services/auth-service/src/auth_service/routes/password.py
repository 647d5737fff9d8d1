"""POST /api/auth/forgot, /reset, /change-password."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field

from auth_service.domain.email import Email
from auth_service.domain.password import NewPassword, Password
from auth_service.handlers import password as handlers
from auth_service.routes.registration import Accepted, MailToken
from auth_service.routes.request import Body, CurrentDevice, CurrentPerson, TenantId, tenant_of
from auth_service.service import CurrentService
from mtenant_chassis import Audit, Router, Tenant, authenticated, public, raises

router = Router(prefix="/api/auth", tags=["passwords"])


class Forgotten(Body):
    """Whose password is forgotten."""

    tenant: TenantId | None = Field(default=None, description="unless the host name says it")
    email: Email


class Reset(Body):
    """The token of the mail, and the new password."""

    token: MailToken
    password: NewPassword


class PasswordChange(Body):
    """The present password, and the new one."""

    current_password: Password
    new_password: NewPassword


@router.post("/forgot", status_code=202, dependencies=[public()], responses=raises(403, 404))
async def forgot(
    request: Request,
    body: Forgotten,
    service: CurrentService,
    device: CurrentDevice,
    audit: Audit,
) -> Accepted:
    """Ask for a mail by which a new password can be chosen; the answer is alike for every address."""
    tenant = await tenant_of(request, service, body.tenant)
    await handlers.forgot(service, tenant, body.email, device=device, audit=audit)
    return Accepted()


@router.post("/reset", status_code=204, dependencies=[public()], responses=raises(403))
async def reset(body: Reset, service: CurrentService, audit: Audit) -> None:
    """Choose a new password by the token of the mail. It works once, and ends every session."""
    await handlers.reset(service, body.token, body.password, audit=audit)


@router.post("/change-password", status_code=204, dependencies=[authenticated()])
async def change(
    body: PasswordChange,
    service: CurrentService,
    person: CurrentPerson,
    tenant: Tenant,
    audit: Audit,
) -> None:
    """Choose a new password; every other session ends."""
    await handlers.change(
        service,
        tenant,
        person.id,
        person.session,
        current=body.current_password,
        new=body.new_password,
        audit=audit,
    )
