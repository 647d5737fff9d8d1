"""Passwords: forgotten, chosen anew by a mail, changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from auth_service.domain import mail
from auth_service.domain.errors import PasswordWrong, ResetTokenInvalid
from auth_service.domain.event import UserPasswordReset
from auth_service.domain.one_time_token import RESET_LIFETIME, new_token, read_token
from auth_service.domain.password import check_new
from auth_service.handlers import profile
from auth_service.handlers.login import Device, find
from auth_service.queries import reset_tokens, sessions, users
from auth_service.queries.users import User
from auth_service.service import Service
from mtenant_chassis import AuditTrail
from mtenant_database import Tenant, TenantNotFound, Transaction


async def forgot(
    service: Service, tenant_id: str, email: str, *, device: Device, audit: AuditTrail
) -> None:
    """Send a mail to whoever has this address here, if anybody has.

    What is done for somebody who is there is done after the answer: so neither the answer nor its time
    tells whether there is such an account.

    Raises:
        RateExceeded: Too many were asked for.
    """
    await service.chassis.limits.take(service.limits.address, device.network)
    await service.chassis.limits.take(service.limits.mail, tenant_id, email)
    service.background.check_room()
    user = await find(service.tenant(tenant_id), email)
    if user is not None and user.status != "disabled":
        service.background.start(_send_reset(service, service.tenant(tenant_id), user, audit))


async def _send_reset(service: Service, tenant: Tenant, user: User, audit: AuditTrail) -> None:
    async with tenant.transaction() as tx:
        text = await add_token(tx, user.id, RESET_LIFETIME)
        message = mail.reset_mail(user.email, text, app_url=service.settings.app_url)
        await service.chassis.mailer.add(tx, message)
        await audit.record(tx, "password.reset_requested", "user", user.id)


async def add_token(tx: Transaction, user_id: UUID, lifetime: timedelta) -> str:
    """Store a new token by which a user may choose a password, and return its text for the mail."""
    text, token = new_token(tx.tenant or "")
    await reset_tokens.add(tx, user_id, token.digest, lifetime)
    return text


async def reset(service: Service, text: str, password: str, *, audit: AuditTrail) -> None:
    """Choose a new password by the token of a mail. It works once, and ends every session.

    Raises:
        ResetTokenInvalid: The token is of no use.
        PasswordWeak: The password is.
    """
    token = read_token(text)
    if token is None:
        raise ResetTokenInvalid
    tenant = service.tenant(token.tenant)
    try:
        email = await reset_tokens.email_of(tenant, token.digest)
    except TenantNotFound:
        email = None
    if email is None:  # before the password is hashed: a made-up token costs nothing
        raise ResetTokenInvalid
    check_new(password, email=email)
    password_hash = await service.passwords.hash(password)
    async with tenant.transaction() as tx:
        user_id = await reset_tokens.use(tx, token.digest)
        if user_id is None or await users.reset_password(tx, user_id, password_hash) is None:
            raise ResetTokenInvalid
        await reset_tokens.void(tx, user_id)
        gone = await sessions.revoke(tx, user_id, why="password reset")
        await service.chassis.outbox.add(tx, UserPasswordReset(str(user_id)), key=str(user_id))
        actor = replace(audit, actor=f"user:{user_id}")
        await actor.record(tx, "password.reset", "user", user_id)
    await service.forget(token.tenant, gone)


async def change(
    service: Service,
    tenant: Tenant,
    user_id: UUID,
    session: UUID,
    *,
    current: str,
    new: str,
    audit: AuditTrail,
) -> None:
    """Change the password of somebody who knows the present one; other sessions end.

    Raises:
        PasswordWrong: The present one is another.
        PasswordWeak: The new one is.
        InvalidToken: The session is over.
        RateExceeded: Too many were tried.
    """
    user = await profile.read(tenant, user_id, session)
    await service.chassis.limits.take(service.limits.account, tenant.id, user.email)
    if not await service.passwords.verify(user.password_hash, current):
        raise PasswordWrong
    check_new(new, email=user.email)
    password_hash = await service.passwords.hash(new)
    async with tenant.transaction() as tx:
        # Tokens, users, sessions: rows are locked in this order everywhere, or two would wait for ever.
        await reset_tokens.void(tx, user_id)
        if await users.change_password(tx, user, password_hash) is None:
            raise PasswordWrong
        gone = await sessions.revoke(tx, user_id, but=session, why="password changed")
        await audit.record(tx, "password.changed", "user", user_id)
    await service.forget(tenant.id, gone)
