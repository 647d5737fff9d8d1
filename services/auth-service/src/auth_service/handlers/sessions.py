"""Sessions: a person sees where they are logged in, and ends what is not theirs."""

from __future__ import annotations

from uuid import UUID

from auth_service.domain.errors import SessionNotFound
from auth_service.handlers import profile
from auth_service.queries import sessions as queries
from auth_service.queries.sessions import Session
from auth_service.service import Service
from mtenant_chassis import AuditTrail
from mtenant_database import Tenant


async def list_sessions(tenant: Tenant, user_id: UUID, session: UUID) -> list[Session]:
    """Return the sessions of a user that are not over.

    Raises:
        InvalidToken: The caller's own is.
    """
    await profile.read(tenant, user_id, session)
    return await queries.of_user(tenant, user_id)


async def revoke_one(
    service: Service,
    tenant: Tenant,
    user_id: UUID,
    own: UUID,
    *,
    session: UUID,
    audit: AuditTrail,
) -> None:
    """End one session of a user.

    Args:
        service: Knows the cache.
        tenant: Whose user.
        user_id: Who.
        own: The session of the request.
        session: The one that ends.
        audit: The request's trail.

    Raises:
        InvalidToken: The session of the request is over.
        SessionNotFound: The user has no such session, or it is over.
    """
    async with tenant.transaction() as tx:
        await profile.read(tx, user_id, own)
        gone = await queries.revoke(tx, user_id, one=session, why="revoked")
        if not gone:
            raise SessionNotFound
        await audit.record(tx, "session.revoked", "session", session)
    await service.forget(tenant.id, gone)


async def revoke_all(
    service: Service,
    tenant: Tenant,
    user_id: UUID,
    own: UUID,
    *,
    keep: bool,
    audit: AuditTrail,
) -> None:
    """End every session of a user.

    Args:
        service: Knows the cache.
        tenant: Whose user.
        user_id: Who.
        own: The session of the request.
        keep: Whether that one stays.
        audit: The request's trail.

    Raises:
        InvalidToken: The session of the request is over.
    """
    async with tenant.transaction() as tx:
        await profile.read(tx, user_id, own)
        gone = await queries.revoke(tx, user_id, but=own if keep else None, why="revoked")
        if gone:
            ended = {"sessions": len(gone)}
            await audit.record(tx, "sessions.revoked", "user", user_id, after=ended)
    await service.forget(tenant.id, gone)
