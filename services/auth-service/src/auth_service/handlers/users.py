"""Users, as administrators and other services see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from auth_service.domain import mail
from auth_service.domain.errors import EmailTaken, LastOwner, RoleTooLow, UserIdTaken, UserNotFound
from auth_service.domain.one_time_token import WELCOME_LIFETIME
from auth_service.domain.password import check_new
from auth_service.domain.role import check_may_change
from auth_service.handlers.password import add_token
from auth_service.handlers.registration import announce, send_verification
from auth_service.queries import sessions
from auth_service.queries import users as queries
from auth_service.queries.sessions import Changed
from auth_service.queries.users import User
from auth_service.service import Service
from mtenant_chassis import AuditTrail, Principal
from mtenant_chassis.auth import InvalidToken
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant, Transaction


@dataclass(frozen=True)
class NewUser:
    """An account that a service makes.

    Attributes:
        id: The caller's choice: the same request again finds what it made.
        email: The address, in its stored spelling.
        name: Of the person.
        role: In the tenant.
        password: None: the person chooses one by a mail.
        verified: Whether the address is known to be the person's.
    """

    id: UUID
    email: str
    name: str
    role: str
    password: str | None
    verified: bool


async def read(tenant: Tenant, user_id: UUID) -> User:
    """Return a user.

    Raises:
        UserNotFound: There is none.
    """
    user = await queries.by_id(tenant, user_id)
    if user is None:
        raise UserNotFound
    return user


async def put(
    service: Service, tenant: Tenant, new: NewUser, *, audit: AuditTrail
) -> tuple[User, bool]:
    """Make an account, or find that this very one was made before.

    Returns:
        The user, and whether it is new.

    Raises:
        UserIdTaken: The id belongs to another address.
        EmailTaken: The address belongs to another id.
        PasswordWeak: The password is.
    """
    known = await queries.by_id(tenant, new.id)
    if known is not None:
        return _same(known, new), False
    password_hash = None
    if new.password is not None:
        check_new(new.password, email=new.email)
        password_hash = await service.passwords.hash(new.password)
    async with tenant.transaction() as tx:
        user = await queries.add(
            tx,
            new.id,
            email=new.email,
            name=new.name,
            role=new.role,
            status="active",
            password_hash=password_hash,
            verified=new.verified,
        )
        if user is None:
            known = await queries.by_id(tx, new.id)
            if known is None:
                raise EmailTaken
            return _same(known, new), False
        await announce(service, tx, user, audit)
        await _write_to(service, tx, user)
        return user, True


def _same(known: User, new: NewUser) -> User:
    if known.email != new.email:
        raise UserIdTaken
    return known


async def _write_to(service: Service, tx: Transaction, user: User) -> None:
    if user.password_hash is None:
        text = await add_token(tx, user.id, WELCOME_LIFETIME)
        message = mail.welcome_mail(user.email, text, app_url=service.settings.app_url)
        await service.chassis.mailer.add(tx, message)
    elif user.email_verified_at is None:
        await send_verification(service, tx, user)


async def set_role(
    service: Service,
    tenant: Tenant,
    actor: Principal,
    user_id: UUID,
    role: str,
    *,
    if_match: Condition,
    audit: AuditTrail,
) -> User:
    """Give a user another role. Tokens that are under way keep the old one for ten minutes.

    Raises:
        UserNotFound: There is none.
        RoleTooLow, OwnAccount: The actor may not.
        LastOwner: The tenant would have no owner.
        VersionMismatch: The user is not the one that was read.
    """
    gone: list[Changed] = []
    async with tenant.transaction() as tx:
        user = await _lock(tx, actor, user_id, if_match, role)
        if user.role != role:
            if role != "owner":
                await _keep_an_owner(tx, user)
            before, after = {"role": user.role}, {"role": role}
            user = await queries.set_role(tx, user_id, role)
            gone = await sessions.touch(tx, user_id)
            await audit.record(tx, "user.role_set", "user", user_id, before=before, after=after)
    await service.forget(tenant.id, gone)
    return user


async def set_status(
    service: Service,
    tenant: Tenant,
    actor: Principal,
    user_id: UUID,
    status: Literal["active", "disabled"],
    *,
    if_match: Condition,
    audit: AuditTrail,
) -> User:
    """Disable a user, which ends every session, or let one in again.

    Raises:
        UserNotFound: There is none.
        RoleTooLow, OwnAccount: The actor may not.
        LastOwner: The tenant would have no owner.
        VersionMismatch: The user is not the one that was read.
    """
    gone: list[Changed] = []
    async with tenant.transaction() as tx:
        user = await _lock(tx, actor, user_id, if_match)
        if user.status != status:
            if status == "disabled":
                await _keep_an_owner(tx, user)
                gone = await sessions.revoke(tx, user_id, why="disabled")
            before, after = {"status": user.status}, {"status": status}
            user = await queries.set_status(tx, user_id, status)
            await audit.record(tx, f"user.{status}", "user", user_id, before=before, after=after)
    await service.forget(tenant.id, gone)
    return user


async def _lock(
    tx: Transaction, actor: Principal, user_id: UUID, if_match: Condition, *roles: str
) -> User:
    # The owners first, always: two changes that each lock one owner and want the other would wait for ever.
    await queries.active_owners(tx)
    present = await _present(tx, actor)
    user = await queries.lock(tx, user_id)
    if user is None:
        raise UserNotFound
    check_may_change(present, str(user_id), user.role, *roles)
    if_match.check(user.version)
    return user


async def _present(tx: Transaction, actor: Principal) -> Principal:
    # A token says what somebody was ten minutes ago. Who gives roles away has to have one now.
    if actor.kind == "service":
        return actor
    user = await queries.by_id(tx, UUID(actor.id))
    if user is None or user.status != "active":
        raise InvalidToken(internal="the account is gone or disabled")
    present = replace(actor, roles=(user.role,))
    if not present.may("users:manage"):
        raise RoleTooLow
    return present


async def _keep_an_owner(tx: Transaction, user: User) -> None:
    if await queries.active_owners(tx) == {user.id}:
        raise LastOwner
