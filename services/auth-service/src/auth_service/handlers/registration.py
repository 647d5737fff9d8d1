"""Registration: by an invitation, or openly where the tenant allows it; and whether an address is real."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

from auth_service.domain import mail
from auth_service.domain.email import normal
from auth_service.domain.errors import (
    EmailTaken,
    InvitationInvalid,
    RegistrationClosed,
    VerificationTokenInvalid,
)
from auth_service.domain.event import UserCreated
from auth_service.domain.one_time_token import VERIFICATION_LIFETIME, new_token, read_token
from auth_service.domain.password import check_new
from auth_service.domain.role import rank
from auth_service.handlers.login import Device
from auth_service.queries import users, verification_tokens
from auth_service.queries.users import User
from auth_service.service import Service
from auth_service.tenants import Invitation
from mtenant_chassis import AuditTrail
from mtenant_database import Tenant, TenantNotFound, Transaction

OPEN_ROLE: Literal["viewer"] = "viewer"
"""The role of whoever registers without an invitation: the least there is."""


@dataclass(frozen=True)
class Applicant:
    """Who wants an account.

    Attributes:
        email: The address, in its stored spelling.
        name: Of the person.
        password: The chosen one.
    """

    email: str
    name: str
    password: str


async def register(
    service: Service,
    tenant_id: str,
    applicant: Applicant,
    *,
    invitation_token: str | None,
    device: Device,
    audit: AuditTrail,
) -> User | None:
    """Make an account.

    Returns:
        The user, if there was an invitation. None if registration is open: whether there is an account
        with this address is told by mail to whoever reads it, and to nobody else.

    Raises:
        InvitationInvalid: The invitation is of no use, or for another address.
        EmailTaken: Whoever was invited has an account.
        RegistrationClosed: There is no invitation, and the tenant wants one.
        PasswordWeak: The password is.
        RateExceeded: Too many came from one address.
    """
    await service.chassis.limits.take(service.limits.registration, device.network)
    check_new(applicant.password, email=applicant.email)
    invitation = None
    if invitation_token is not None:
        invitation = await service.tenants.invitation(tenant_id, invitation_token)
        if invitation is None or normal(invitation.email) != applicant.email:
            raise InvitationInvalid
        if rank(invitation.role) < 0:
            raise InvitationInvalid(internal=f"it is for the role {invitation.role!r:.50}")
    elif not await service.tenants.is_open(tenant_id):
        raise RegistrationClosed
    password_hash = await service.passwords.hash(applicant.password)
    tenant = service.tenant(tenant_id)
    try:
        async with tenant.transaction() as tx:
            if invitation is None:
                await _apply(service, tx, applicant, password_hash, audit)
                return None
            return await _accept(
                service, tx, applicant, password_hash, invitation=invitation, audit=audit
            )
    except TenantNotFound:
        raise RegistrationClosed from None


async def _accept(
    service: Service,
    tx: Transaction,
    applicant: Applicant,
    password_hash: str,
    *,
    invitation: Invitation,
    audit: AuditTrail,
) -> User:
    user = await users.add(
        tx,
        uuid4(),
        email=applicant.email,
        name=applicant.name,
        role=invitation.role,
        status="active",
        password_hash=password_hash,
        verified=True,  # the invitation came by a mail to this address
    )
    if user is None:
        raise EmailTaken
    await announce(service, tx, user, audit, invitation=invitation.id)
    return user


async def _apply(
    service: Service,
    tx: Transaction,
    applicant: Applicant,
    password_hash: str,
    audit: AuditTrail,
) -> None:
    made = await users.add(
        tx,
        uuid4(),
        email=applicant.email,
        name=applicant.name,
        role=OPEN_ROLE,
        status="pending",
        password_hash=password_hash,
        verified=False,
    )
    if made is not None:
        await announce(service, tx, made, audit)
        await send_verification(service, tx, made)
        return
    known = await users.by_email(tx, applicant.email)
    if known is not None and known.status == "pending":
        # The token before the user: in this order a confirmation locks them, too.
        await send_verification(service, tx, known)
        await users.register_again(tx, known.id, name=applicant.name, password_hash=password_hash)
        return
    app_url = service.settings.app_url
    await service.chassis.mailer.add(tx, mail.known_mail(applicant.email, app_url=app_url))


async def announce(
    service: Service,
    tx: Transaction,
    user: User,
    audit: AuditTrail,
    *,
    invitation: str | None = None,
) -> None:
    """Tell of a new account: the others by an event, the tenant by its audit trail."""
    told = UserCreated(str(user.id), user.email, user.name, user.role, invitation)
    await service.chassis.outbox.add(tx, told, key=str(user.id))
    after = {"email": user.email, "role": user.role, "invitation_id": invitation}
    by = audit if audit.actor != "anonymous" else replace(audit, actor=f"user:{user.id}")
    await by.record(tx, "user.created", "user", user.id, after=after)


async def send_verification(service: Service, tx: Transaction, user: User) -> None:
    """Send the mail that finds out whether an address is its owner's."""
    text, token = new_token(tx.tenant or "")
    await verification_tokens.add(tx, user.id, token.digest, VERIFICATION_LIFETIME)
    message = mail.verification_mail(user.email, text, app_url=service.settings.app_url)
    await service.chassis.mailer.add(tx, message)


async def verify_email(service: Service, text: str, *, audit: AuditTrail) -> None:
    """Note that an address is its owner's, by the token of a mail; an account that waited for it opens.

    Raises:
        VerificationTokenInvalid: The token is of no use.
    """
    token = read_token(text)
    if token is None:
        raise VerificationTokenInvalid
    tenant: Tenant = service.tenant(token.tenant)
    try:
        async with tenant.transaction() as tx:
            user_id = await verification_tokens.use(tx, token.digest)
            if user_id is None or await users.verify_email(tx, user_id) is None:
                raise VerificationTokenInvalid
            actor = replace(audit, actor=f"user:{user_id}")
            await actor.record(tx, "user.email_verified", "user", user_id)
    except TenantNotFound:
        raise VerificationTokenInvalid from None
