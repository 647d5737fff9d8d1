"""Login, refresh, logout: how a session begins, goes on, and ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from auth_service.domain.errors import InvalidCredentials, RefreshTokenInvalid
from auth_service.domain.event import UserLogin
from auth_service.domain.refresh_token import LIFETIME, RefreshToken, judge
from auth_service.domain.throttle import network_of
from auth_service.handlers.tokens import Issued, person_token
from auth_service.queries import refresh_tokens, sessions, users
from auth_service.queries.refresh_tokens import Rotated
from auth_service.queries.users import User
from auth_service.service import Service
from mtenant_chassis import AuditTrail
from mtenant_database import Tenant, TenantNotFound, Transaction
from mtenant_logger import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Device:
    """Where somebody logs in from.

    Attributes:
        address: The peer's.
        user_agent: What it calls itself.
    """

    address: str
    user_agent: str | None = None

    @property
    def network(self) -> str:
        """What is counted against limits."""
        return network_of(self.address)


async def login(
    service: Service,
    tenant_id: str,
    email: str,
    password: str,
    *,
    device: Device,
    audit: AuditTrail,
) -> Issued:
    """Open a session.

    Whether the tenant, the account or the password is wrong makes no difference that could be seen: one
    query, one hash, one answer.

    Raises:
        InvalidCredentials: Something is wrong.
        RateExceeded: Too many were tried.
    """
    await service.chassis.limits.take(service.limits.address, device.network)
    await service.chassis.limits.take(service.limits.account, tenant_id, email)
    tenant = service.tenant(tenant_id)
    # A second look: between the first and the commit another login may have hashed the password anew.
    for _ in range(2):
        user = await find(tenant, email)
        known = None if user is None else user.password_hash
        good = await service.passwords.verify(known, password)
        if not good or user is None or known is None or user.status != "active":
            log.info("a login was refused", tenant_id=tenant_id, address=device.address)
            raise InvalidCredentials
        fresh = known
        if service.passwords.outdated(known):
            fresh = await service.passwords.hash(password)
        async with tenant.transaction() as tx:
            opened = await _open(service, tx, user, fresh, device=device, audit=audit)
        if opened is not None:
            return opened
    raise InvalidCredentials


async def find(tenant: Tenant, email: str) -> User | None:
    """Return the user with an address; None too if there is no such tenant."""
    try:
        return await users.by_email(tenant, email)
    except TenantNotFound:
        return None


async def _open(
    service: Service,
    tx: Transaction,
    user: User,
    password_hash: str,
    *,
    device: Device,
    audit: AuditTrail,
) -> Issued | None:
    # Conditional on the hash that was checked: whoever resets the password meanwhile ends this login.
    if await users.note_login(tx, user, password_hash) is None:
        return None
    session, family = uuid4(), uuid4()
    await sessions.open_session(
        tx,
        session,
        family,
        user.id,
        user_agent=device.user_agent,
        address=device.address,
        lifetime=LIFETIME,
    )
    await service.chassis.outbox.add(tx, UserLogin(str(user.id), str(session)), key=str(user.id))
    actor = replace(audit, actor=f"user:{user.id}")
    await actor.record(tx, "session.opened", "session", session, after={"address": device.address})
    tenant = tx.tenant or ""
    token = RefreshToken(tenant, family, 0)
    return Issued(
        person_token(service, tenant, user.id, user.role, session),
        service.refresh_tokens.write(token),
    )


async def refresh(service: Service, text: str, *, audit: AuditTrail) -> Issued:
    """Return the successor of a refresh token, and an access token.

    Raises:
        RefreshTokenInvalid: It is none, or has ended; or it was used before, and then its family is
            revoked, and that is committed.
    """
    token = service.refresh_tokens.read(text)
    tenant = service.tenant(token.tenant)
    try:
        rotated = await refresh_tokens.rotate(tenant, token.family, token.counter)
    except TenantNotFound:
        raise RefreshTokenInvalid(internal="its tenant is gone") from None
    if rotated is not None:
        return _successor(service, token, rotated)
    family = await refresh_tokens.find(tenant, token.family)
    if family is None:
        raise RefreshTokenInvalid(internal="its family is gone")
    verdict = judge(
        token.counter,
        counter=family.counter,
        since_rotation=family.since_rotation,
        alive=family.alive,
    )
    if verdict == "again":
        return _successor(service, token, family)
    if verdict == "stolen":
        await _revoke_stolen(service, tenant, family, audit)
    raise RefreshTokenInvalid(internal=f"{verdict}: {token.counter} of {family.counter}")


def _successor(service: Service, token: RefreshToken, rotated: Rotated) -> Issued:
    session = rotated.session_id
    return Issued(
        person_token(service, token.tenant, rotated.user_id, rotated.role, session),
        service.refresh_tokens.write(replace(token, counter=rotated.counter)),
    )


async def _revoke_stolen(
    service: Service, tenant: Tenant, family: Rotated, audit: AuditTrail
) -> None:
    # Its own transaction, over before the 401 is raised: an exception would take the revocation back.
    async with tenant.transaction() as tx:
        gone = await sessions.revoke(
            tx, family.user_id, one=family.session_id, why="refresh token used again"
        )
        if gone:
            actor = replace(audit, actor=f"user:{family.user_id}")
            await actor.record(
                tx, "session.revoked", "session", family.session_id, after={"why": "reuse"}
            )
    await service.forget(tx.tenant or "", gone)
    log.warning("a refresh token was used again: its session is over", session=family.session_id)


async def logout(
    service: Service, tenant: Tenant, user_id: UUID, session: UUID, *, audit: AuditTrail
) -> None:
    """End the caller's own session; a second time nothing happens."""
    async with tenant.transaction() as tx:
        gone = await sessions.revoke(tx, user_id, one=session, why="logout")
        if gone:
            await audit.record(tx, "session.closed", "session", session)
    await service.forget(tx.tenant or "", gone)
