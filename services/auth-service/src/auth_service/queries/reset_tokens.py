"""Tokens for a new password, in the tenant's schema: digests only."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Verbs

# Those before it are void: the newest mail is the one that works.
_ADD: Final = (
    "with old as (delete from password_reset_tokens where user_id = %(user)s)"
    " insert into password_reset_tokens (digest, user_id, expires_at)"
    " values (%(digest)s, %(user)s, now() + %(lifetime)s)"
)
_FIND: Final = (
    "select users.email from password_reset_tokens join users on users.id = user_id"
    " where digest = %s and used_at is null and expires_at > now()"
)
_USE: Final = (
    "update password_reset_tokens set used_at = now()"
    " where digest = %s and used_at is null and expires_at > now() returning user_id"
)
_VOID: Final = "delete from password_reset_tokens where user_id = %s and used_at is null"


async def add(tx: Verbs, user_id: UUID, digest: bytes, lifetime: timedelta) -> None:
    """Add a token in the place of those before it."""
    await tx.execute(_ADD, {"user": user_id, "digest": digest, "lifetime": lifetime})


async def email_of(db: Verbs, digest: bytes) -> str | None:
    """Return the address of the user whose token this is, without using it."""
    row = await db.fetch_optional(_FIND, [digest])
    return None if row is None else str(row[0])


async def use(tx: Verbs, digest: bytes) -> UUID | None:
    """Use a token up, and return whose it is; None if it is of no use. Only one caller gets the user."""
    row = await tx.fetch_optional(_USE, [digest])
    return None if row is None else UUID(str(row[0]))


async def void(tx: Verbs, user_id: UUID) -> None:
    """Forget the tokens of a user that were not used."""
    await tx.execute(_VOID, [user_id])
