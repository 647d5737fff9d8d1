"""Routes of invitations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    Page,
    PageQuery,
    RateLimit,
    Router,
    Tenant,
    Tx,
    by_address,
    idempotent,
    limited,
    public,
    raises,
    requires,
    services_only,
    set_etag,
)
from mtenant_chassis.auth import Role
from tenant_service.domain.errors import InvitationNotFound
from tenant_service.domain.invitation import Invitation, Status
from tenant_service.domain.person import Email, Name, NewPassword
from tenant_service.handlers.invitations import Invitations
from tenant_service.queries import invitation as invitations
from tenant_service.settings import TenantServiceSettings

ACCEPT = RateLimit("accept", most=60, seconds=60)

Token = Annotated[SecretStr, Field(min_length=1, max_length=128)]


class NewInvitation(BaseModel):
    """Who is invited, and as what."""

    model_config = ConfigDict(extra="forbid", strict=True)
    email: Email
    role: Role = "member"


class InvitationView(BaseModel):
    """An invitation. Its token is in the mail and nowhere else."""

    id: UUID
    email: str
    role: Role
    status: Status
    invited_by: str
    sent: int = Field(description="how often the mail was sent")
    expires_at: datetime
    accepted_by: str | None
    accepted_at: datetime | None
    created_at: datetime
    version: int

    @classmethod
    def of(cls, one: Invitation) -> InvitationView:
        """Return what may be seen of an invitation."""
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class Acceptance(BaseModel):
    """What somebody who is invited says; name and password are those of the account that is made."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token: Token
    name: Name
    password: NewPassword


class Accepted(BaseModel):
    """Somebody who is in, and what to log in with."""

    tenant: str
    subdomain: str
    email: str
    role: Role
    user_id: str
    new_account: bool = Field(
        description="false: the address had an account, which keeps its password"
    )


class TokenQuestion(BaseModel):
    """A token of an invitation."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token: Token


class OpenInvitation(BaseModel):
    """What the token of an open invitation stands for."""

    id: UUID
    email: str
    role: Role


def invitations_router(own: TenantServiceSettings) -> Router:
    """Return the routes of invitations."""
    router = Router(tags=["invitations"])

    @router.post(
        "/api/tenants/invite",
        status_code=201,
        dependencies=[requires("invitations:manage"), idempotent()],
        responses=raises(402, 409),
    )
    async def invite(
        *,
        asked: NewInvitation,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> InvitationView:
        """Invite an address by mail. If it has an account by then, that gets the role."""
        made = await Invitations(chassis, own).invite(
            tx, who, audit, email=asked.email, role=asked.role
        )
        response.headers["location"] = f"/api/tenants/invitations/{made.id}"
        return InvitationView.of(made)

    @router.get("/api/tenants/invitations", dependencies=[requires("invitations:manage")])
    async def list_invitations(
        tenant: Tenant, page: PageQuery, status: Annotated[Status | None, Query()] = None
    ) -> Page[InvitationView]:
        """List invitations, newest first."""
        after = page.after(datetime, UUID, of=("created_at, id", status))
        found = await invitations.newest_first(
            tenant, status, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        views = [InvitationView.of(one) for one in found]
        total = await page.total(lambda: invitations.count(tenant, status))
        return page.of(views, key=lambda one: (one.created_at, one.id), total=total)

    @router.get(
        "/api/tenants/invitations/{invitation_id}", dependencies=[requires("invitations:manage")]
    )
    async def get(invitation_id: UUID, tenant: Tenant, response: Response) -> InvitationView:
        """Return an invitation; one that was revoked is in the list only."""
        found = await invitations.get(tenant, invitation_id)
        if found is None or found.status == "revoked":
            raise InvitationNotFound
        set_etag(response, found.version)
        return InvitationView.of(found)

    @router.post(
        "/api/tenants/invitations/{invitation_id}/resend",
        dependencies=[requires("invitations:manage"), idempotent()],
        responses=raises(402, 409),
    )
    async def resend(
        invitation_id: UUID, tx: Tx, who: CurrentPrincipal, audit: Audit, chassis: CurrentChassis
    ) -> InvitationView:
        """Send the mail again, with a new token and a new end; the token before is void."""
        sent = await Invitations(chassis, own).send_again(tx, who, audit, invitation_id)
        return InvitationView.of(sent)

    @router.delete(
        "/api/tenants/invitations/{invitation_id}",
        status_code=204,
        dependencies=[requires("invitations:manage")],
        responses=raises(409),
    )
    async def revoke(invitation_id: UUID, tx: Tx, audit: Audit, chassis: CurrentChassis) -> None:
        """Make the token void."""
        await Invitations(chassis, own).revoke(tx, audit, invitation_id)

    @router.post(
        "/api/invitations/accept",
        dependencies=[public(), limited(ACCEPT, by=by_address)],
        responses=raises(404, 409, 410, 502),
    )
    async def accept(asked: Acceptance, chassis: CurrentChassis) -> Accepted:
        """Accept an invitation: the account is made, or gets the role. A token works once."""
        joined = await Invitations(chassis, own).accept(
            asked.token.get_secret_value(), name=asked.name, password=asked.password
        )
        return Accepted(
            tenant=joined.organization.id,
            subdomain=joined.organization.subdomain,
            email=joined.invitation.email,
            role=joined.invitation.role,
            user_id=joined.user_id,
            new_account=joined.is_new,
        )

    @router.post("/api/invitations/check", dependencies=[services_only("invitations:read")])
    async def check(
        asked: TokenQuestion, tenant: Tenant, chassis: CurrentChassis
    ) -> OpenInvitation:
        """Tell a service what a token of its tenant stands for; nothing is consumed."""
        found = await Invitations(chassis, own).check(tenant, asked.token.get_secret_value())
        return OpenInvitation(id=found.id, email=found.email, role=found.role)

    return router
