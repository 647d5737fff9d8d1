"""API keys, in the tenant's schema: digests only."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Verbs

_COLUMNS: Final = "id, name, scopes, created_at, expires_at, last_used_at"
_ADD: Final = (
    "insert into api_keys (id, user_id, name, digest, scopes, expires_at)"
    f" values (%s, %s, %s, %s, %s, now() + %s) returning {_COLUMNS}"
)
_LIST: Final = (
    f"select {_COLUMNS} from api_keys where user_id = %s and revoked_at is null"
    " and (expires_at is null or expires_at > now()) order by created_at, id limit 200"
)
_REVOKE: Final = (
    "update api_keys set revoked_at = now() where id = %s and user_id = %s and revoked_at is null"
)
_STATE: Final = (
    "select api_keys.id, api_keys.digest, api_keys.scopes, users.id as user_id, users.role"
    " from api_keys join users on users.id = user_id where api_keys.id = %s"
    " and revoked_at is null and (expires_at is null or expires_at > now())"
    " and users.status = 'active'"
)
_USED: Final = (
    "update api_keys set last_used_at = now() where id = %s"
    " and (last_used_at is null or last_used_at < now() - interval '1 minute')"
)


@dataclass(frozen=True)
class ApiKey:
    """What a person is shown of a key."""

    id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class ApiKeyState:
    """A key that works, and whose it is."""

    id: UUID
    digest: bytes
    scopes: list[str]
    user_id: UUID
    role: str


async def add(
    tx: Verbs,
    key_id: UUID,
    user_id: UUID,
    *,
    name: str,
    digest: bytes,
    scopes: list[str],
    lifetime: timedelta | None,
) -> ApiKey:
    """Add a key."""
    values = [key_id, user_id, name, digest, scopes, lifetime]
    return await tx.fetch_one(_ADD, values, row=ApiKey)


async def of_user(db: Verbs, user_id: UUID) -> list[ApiKey]:
    """Return the keys of a user that work."""
    return await db.fetch_all(_LIST, [user_id], row=ApiKey)


async def revoke(tx: Verbs, key_id: UUID, user_id: UUID) -> bool:
    """End a key of a user; tell whether there was one."""
    return (await tx.execute(_REVOKE, [key_id, user_id])).rows_affected == 1


async def state(db: Verbs, key_id: UUID) -> ApiKeyState | None:
    """Return a key that works, of a user who is active."""
    return await db.fetch_optional(_STATE, [key_id], row=ApiKeyState)


async def note_use(db: Verbs, key_id: UUID) -> None:
    """Note that a key was used, to the minute."""
    await db.execute(_USED, [key_id])
