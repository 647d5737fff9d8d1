"""Sessions: logins of people, in the tenant's schema."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Verbs

_OPEN: Final = (
    "with old as (delete from sessions where user_id = %(user)s"
    " and expires_at < now() - interval '30 days'), session as (insert into sessions (id, user_id, user_agent, address, expires_at)"
    " values (%(id)s, %(user)s, %(agent)s, %(address)s, now() + %(lifetime)s)"
    " returning id, expires_at)"
    " insert into refresh_tokens (family, session_id, expires_at)"
    " select %(family)s, id, expires_at from session"
)
# When a session was used last is when its refresh token was: the rotation locks that row and no other.
_LIST: Final = (
    "select sessions.id, user_agent, address, created_at, sessions.expires_at,"
    " coalesce(rotated_at, created_at) as last_seen_at from sessions"
    " join refresh_tokens on session_id = sessions.id where user_id = %s"
    " and sessions.revoked_at is null and sessions.expires_at > now()"
    " order by last_seen_at desc, sessions.id limit 200"
)
_STATE: Final = (
    "select sessions.id, sessions.user_id, sessions.version, users.role, sessions.expires_at,"
    " sessions.revoked_at is null and users.status = 'active' as alive from sessions"
    " join users on users.id = sessions.user_id where sessions.id = %s"
)
# A family goes with its session, in one statement: there is no moment at which one of both lives.
_REVOKE: Final = (
    "with gone as (update sessions set revoked_at = now(), revoked_why = %(why)s,"
    " version = version + 1 where user_id = %(user)s and revoked_at is null"
    " and (%(one)s::uuid is null or id = %(one)s) and (%(but)s::uuid is null or id <> %(but)s)"
    " returning id, version), families as (update refresh_tokens set revoked_at = now()"
    " where session_id in (select id from gone) and revoked_at is null)"
    " select id, version from gone"
)
_CHANGED: Final = (
    "update sessions set version = version + 1 where user_id = %s and revoked_at is null"
    " and expires_at > now() returning id, version"
)


@dataclass(frozen=True)
class Session:
    """What a person is shown of a session."""

    id: UUID
    user_agent: str | None
    address: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class SessionState:
    """What a token's check needs to know of a session."""

    id: UUID
    user_id: UUID
    version: int
    role: str
    expires_at: datetime
    alive: bool


@dataclass(frozen=True)
class Changed:
    """A session that is not what it was, and its version now: for the cache."""

    id: UUID
    version: int


async def open_session(
    tx: Verbs,
    session_id: UUID,
    family: UUID,
    user_id: UUID,
    *,
    user_agent: str | None,
    address: str | None,
    lifetime: timedelta,
) -> None:
    """Add a session and its family of refresh tokens; those that ended a month ago are forgotten."""
    params = {
        "id": session_id,
        "family": family,
        "user": user_id,
        "agent": user_agent,
        "address": address,
        "lifetime": lifetime,
    }
    await tx.execute(_OPEN, params)


async def of_user(db: Verbs, user_id: UUID) -> list[Session]:
    """Return the sessions of a user that are not over, the last used first."""
    return await db.fetch_all(_LIST, [user_id], row=Session)


async def state(db: Verbs, session_id: UUID) -> SessionState | None:
    """Return what a token's check needs to know."""
    return await db.fetch_optional(_STATE, [session_id], row=SessionState)


async def revoke(
    tx: Verbs, user_id: UUID, *, why: str, one: UUID | None = None, but: UUID | None = None
) -> list[Changed]:
    """End sessions of a user, with their refresh tokens.

    Args:
        tx: The open transaction.
        user_id: Whose.
        why: For the record.
        one: This one only.
        but: All but this one.
    """
    params = {"user": user_id, "why": why, "one": one, "but": but}
    return await tx.fetch_all(_REVOKE, params, row=Changed)


async def touch(tx: Verbs, user_id: UUID) -> list[Changed]:
    """Note that what is known of a user's sessions has changed, such as the role."""
    return await tx.fetch_all(_CHANGED, [user_id], row=Changed)
