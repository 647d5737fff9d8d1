"""POST /api/auth/register, /api/auth/verify-email."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from auth_service.domain.email import Email
from auth_service.domain.password import NewPassword
from auth_service.handlers import registration as handlers
from auth_service.handlers.registration import Applicant
from auth_service.routes.answer import User
from auth_service.routes.request import Body, CurrentDevice, Name, TenantId, tenant_of
from auth_service.service import CurrentService
from mtenant_chassis import Audit, Router, public, raises

router = Router(prefix="/api/auth", tags=["registration"])

MailToken = Annotated[str, Field(min_length=1, max_length=200)]
"""A token that came by a mail."""


class Registration(Body):
    """Who wants an account. As what, the invitation says."""

    tenant: TenantId | None = Field(default=None, description="unless the host name says it")
    email: Email
    name: Name
    password: NewPassword
    invitation_token: MailToken | None = None


class Accepted(Body):
    """A mail tells the rest."""

    message: str = "if this is possible, a mail with the next step is under way"


class Token(Body):
    """The token of a mail."""

    token: MailToken


@router.post(
    "/register",
    status_code=201,
    response_model=User,
    dependencies=[public()],
    responses={
        202: {"model": Accepted, "description": "open registration: a mail tells the rest"},
        **raises(403, 404, 409),
    },
)
async def register(
    request: Request,
    body: Registration,
    service: CurrentService,
    device: CurrentDevice,
    audit: Audit,
) -> User | Response:
    """Make an account: with an invitation, or without one where the tenant is open to everybody."""
    user = await handlers.register(
        service,
        await tenant_of(request, service, body.tenant),
        Applicant(body.email, body.name, body.password),
        invitation_token=body.invitation_token,
        device=device,
        audit=audit,
    )
    if user is None:
        return Response(
            Accepted().model_dump_json(), status_code=202, media_type="application/json"
        )
    return User.of(user)


@router.post("/verify-email", status_code=204, dependencies=[public()])
async def verify_email(body: Token, service: CurrentService, audit: Audit) -> None:
    """Confirm an address by the token of the mail that was sent there."""
    await handlers.verify_email(service, body.token, audit=audit)
