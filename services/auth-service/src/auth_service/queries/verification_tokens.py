"""Tokens for an address, in the tenant's schema: digests only."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Verbs

_ADD: Final = (
    "with old as (delete from email_verification_tokens where user_id = %(user)s)"
    " insert into email_verification_tokens (digest, user_id, expires_at)"
    " values (%(digest)s, %(user)s, now() + %(lifetime)s)"
)
_USE: Final = (
    "update email_verification_tokens set used_at = now()"
    " where digest = %s and used_at is null and expires_at > now() returning user_id"
)


async def add(tx: Verbs, user_id: UUID, digest: bytes, lifetime: timedelta) -> None:
    """Add a token in the place of those before it."""
    await tx.execute(_ADD, {"user": user_id, "digest": digest, "lifetime": lifetime})


async def use(tx: Verbs, digest: bytes) -> UUID | None:
    """Use a token up, and return whose it is; None if it is of no use."""
    row = await tx.fetch_optional(_USE, [digest])
    return None if row is None else UUID(str(row[0]))
