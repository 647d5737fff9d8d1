"""Invitations: from an administrator's wish to somebody's account."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_database import (
    TenantNotFound,
    TenantNotReady,
    TenantSuspended,
    Transaction,
    Verbs,
)
from mtenant_errors import AppError
from mtenant_logger import current_request_id
from tenant_service.domain.errors import (
    InvitationBusy,
    InvitationClosed,
    InvitationGone,
    InvitationNotFound,
    InvitationPending,
    OrganizationNotFound,
)
from tenant_service.domain.event import TenantUserInvited, TenantUserJoined
from tenant_service.domain.invitation import Invitation, check_may_give, rank
from tenant_service.domain.mail import invitation_mail
from tenant_service.domain.organization import Organization
from tenant_service.domain.plan import plan_named
from tenant_service.domain.token import InvitationToken, new_token, read_token
from tenant_service.handlers.accounts import Accounts, is_refused
from tenant_service.queries import invitation as invitations
from tenant_service.queries import organization as organizations
from tenant_service.queries import settings as rows
from tenant_service.settings import TenantServiceSettings


@dataclass(frozen=True)
class Joined:
    """Somebody who is in.

    Attributes:
        organization: Where.
        invitation: By which invitation.
        user_id: The account.
        is_new: Whether it was made now; the address may have had one.
    """

    organization: Organization
    invitation: Invitation
    user_id: str
    is_new: bool


class Invitations:
    """Makes, sends, revokes and accepts invitations.

    Args:
        chassis: Of the running app.
        own: Says for how long, and where the front end is.
    """

    def __init__(self, chassis: Chassis, own: TenantServiceSettings) -> None:
        self._chassis = chassis
        self._own = own

    async def invite(
        self, tx: Transaction, who: Principal, audit: AuditTrail, *, email: str, role: str
    ) -> Invitation:
        """Invite an address; the mail leaves with the commit.

        Raises:
            RoleTooHigh: The role is above the inviter's.
            PlanLimitReached: The plan has no room for one more.
            InvitationPending: The address has an open invitation.
        """
        check_may_give(who, role)
        organization = await self._organization(tx)
        token = new_token(organization.id)
        made = await invitations.add(
            tx,
            email,
            role,
            digest=token.digest,
            invited_by=who.id,
            lifetime=self._own.invitation_lifetime,
        )
        if made is None:
            raise InvitationPending
        # The new one is counted already. The organization is locked, so nobody counts at the same time.
        taken = await rows.count_users(tx) + await invitations.count_open(tx)
        plan_named(organization.plan).check_users(taken - 1)
        await self._send(tx, made, token, organization)
        told = TenantUserInvited(str(made.id), email, role, who.id)
        await self._chassis.outbox.add(tx, told, key=str(made.id))
        about = {"email": email, "role": role}
        await audit.record(tx, "invitation.created", "invitation", made.id, after=about)
        return made

    async def send_again(
        self, tx: Transaction, who: Principal, audit: AuditTrail, invitation: UUID
    ) -> Invitation:
        """Send another token, by mail; the one before is worth nothing from now on.

        Raises:
            InvitationNotFound: There is none.
            InvitationClosed: It was accepted or revoked.
            InvitationPending: The address has another one that is open.
        """
        organization = await self._organization(tx)
        found = await self._lock_open(tx, invitation, "pending", "expired")
        check_may_give(who, found.role)
        if found.status == "expired":
            if await invitations.is_open_for(tx, found.email, but=found.id):
                raise InvitationPending
            taken = await rows.count_users(tx) + await invitations.count_open(tx)
            plan_named(organization.plan).check_users(taken)
        token, lifetime = new_token(organization.id), self._own.invitation_lifetime
        renewed = await invitations.renew(tx, invitation, digest=token.digest, lifetime=lifetime)
        await self._send(tx, renewed, token, organization)
        await audit.record(tx, "invitation.sent_again", "invitation", invitation)
        return renewed

    async def revoke(self, tx: Transaction, audit: AuditTrail, invitation: UUID) -> None:
        """Close an invitation.

        Raises:
            InvitationNotFound: There is none.
            InvitationClosed: It is not open.
        """
        await self._lock_open(tx, invitation, "pending", "expired")
        await invitations.revoke(tx, invitation)
        await audit.record(tx, "invitation.revoked", "invitation", invitation)

    async def check(self, on: Verbs, text: str) -> Invitation:
        """Return the open invitation of a token of this tenant; nothing is consumed.

        Raises:
            InvitationNotFound: There is none that is open.
        """
        token = read_token(text)
        found = None if token is None else await invitations.by_digest(on, token.digest)
        if found is None or found.status != "pending":
            raise InvitationNotFound
        return found

    async def accept(self, text: str, *, name: str, password: SecretStr) -> Joined:
        """Make the account of whoever was invited, or give the role to the one that there is.

        Of many who accept one invitation at a time one gets through.

        Args:
            text: The token of the mail.
            name: What the person is called.
            password: Of the new account.

        Raises:
            InvitationNotFound: No invitation has such a token.
            InvitationGone: It was accepted or revoked, or is too old.
            InvitationBusy: Somebody is accepting it.
            AppError: auth-service refuses the account, for example its password.
        """
        token = read_token(text)
        if token is None:
            raise InvitationNotFound
        try:
            tenant = self._chassis.tenant(token.tenant)
            claimed = await invitations.claim(tenant, token.digest)
            if claimed is None:
                raise await self._why_not(tenant, token)
        except (TenantNotFound, TenantSuspended, TenantNotReady) as exc:
            raise InvitationNotFound from exc
        try:
            user, is_new = await self._account(token.tenant, claimed, name, password)
            async with tenant.transaction() as tx:
                organization = await self._organization(tx)
                if not await self.joined(tx, claimed.id, user):
                    raise InvitationGone
                await rows.first_preferences(tx, user)
        except AppError as exc:
            with suppress(AppError):
                await invitations.let_go(tenant, claimed.id)
            if is_refused(exc):
                raise exc.as_own() from exc
            raise
        return Joined(organization, claimed, user, is_new)

    async def joined(self, tx: Transaction, invitation: UUID, user: str) -> bool:
        """Note that somebody has accepted, and tell others; once. False if it was not open."""
        accepted = await invitations.accept(tx, invitation, user)
        if accepted is None:
            return False
        told = TenantUserJoined(str(accepted.id), user, accepted.email, accepted.role)
        await self._chassis.outbox.add(tx, told, key=user)
        audit = AuditTrail(self._chassis.settings.service, f"user:{user}", current_request_id())
        about = {"user_id": user, "role": accepted.role}
        await audit.record(tx, "invitation.accepted", "invitation", invitation, after=about)
        return True

    async def _account(
        self, tenant: str, claimed: Invitation, name: str, password: SecretStr
    ) -> tuple[str, bool]:
        accounts = Accounts(self._chassis, tenant)
        for _ in range(2):
            made = await accounts.create(
                claimed.user_id,
                email=claimed.email,
                name=name,
                role=claimed.role,
                password=password,
                verified=True,  # the token was in a mail to it
            )
            if made:
                return str(claimed.user_id), True
            known = await accounts.with_address(claimed.email)
            if known is not None:
                user = str(known["id"])
                # More, and never less: who invites an owner as a viewer has not seen who that is.
                if rank(claimed.role) > rank(str(known["role"])):
                    await accounts.give_role(user, claimed.role)
                return user, False
        raise InvitationBusy(retry_after=1)  # the account was removed between two questions

    async def _why_not(self, on: Verbs, token: InvitationToken) -> AppError:
        found = await invitations.by_digest(on, token.digest)
        if found is None:
            return InvitationNotFound()
        return InvitationBusy(retry_after=1) if found.status == "pending" else InvitationGone()

    async def _organization(self, tx: Transaction) -> Organization:
        found = await organizations.lock(tx, tx.tenant or "")
        if found is None or found.status != "active":
            raise OrganizationNotFound
        return found

    async def _lock_open(self, tx: Transaction, invitation: UUID, *of: str) -> Invitation:
        found = await invitations.lock(tx, invitation)
        if found is None:
            raise InvitationNotFound
        if found.status not in of:
            raise InvitationClosed(status=found.status)
        if await invitations.is_claimed(tx, invitation):
            raise InvitationBusy(retry_after=1)
        return found

    async def _send(
        self, tx: Transaction, one: Invitation, token: InvitationToken, organization: Organization
    ) -> None:
        mail = invitation_mail(
            one.email,
            token,
            organization=organization.name,
            role=one.role,
            expires_at=one.expires_at,
            app_url=self._own.app_url,
        )
        await self._chassis.mailer.add(tx, mail)
