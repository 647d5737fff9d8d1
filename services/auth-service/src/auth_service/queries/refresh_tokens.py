"""Families of refresh tokens, in the tenant's schema."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Verbs

_ABOUT: Final = "users.id as user_id, users.email, users.role, sessions.id as session_id"
# The rotation: whoever comes second finds another counter, whatever the isolation and however many.
_ROTATE: Final = (
    "with rotated as (update refresh_tokens set counter = counter + 1, rotated_at = now()"
    " where family = %s and counter = %s and revoked_at is null and expires_at > now()"
    " returning session_id, counter)"
    f" select {_ABOUT}, rotated.counter from rotated join sessions on sessions.id = session_id"
    " join users on users.id = sessions.user_id"
)
_FIND: Final = (
    f"select {_ABOUT}, refresh_tokens.counter, now() - rotated_at as since_rotation,"
    " refresh_tokens.revoked_at is null and refresh_tokens.expires_at > now() as alive"
    " from refresh_tokens join sessions on sessions.id = session_id"
    " join users on users.id = sessions.user_id where family = %s"
)


@dataclass(frozen=True)
class Rotated:
    """A family whose newest token is another one now."""

    user_id: UUID
    email: str
    role: str
    session_id: UUID
    counter: int


@dataclass(frozen=True)
class Family(Rotated):
    """A family as it is."""

    since_rotation: timedelta | None
    alive: bool


async def rotate(db: Verbs, family: UUID, counter: int) -> Rotated | None:
    """Make the successor of a token the newest one; None if it was not the newest itself."""
    return await db.fetch_optional(_ROTATE, [family, counter], row=Rotated)


async def find(db: Verbs, family: UUID) -> Family | None:
    """Return a family."""
    return await db.fetch_optional(_FIND, [family], row=Family)
