"""Users, in the tenant's schema."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Verbs

_COLUMNS: Final = (
    "id, email, name, role, status, password_hash, email_verified_at, last_login_at, created_at,"
    " updated_at, version"
)
_BY_EMAIL: Final = f"select {_COLUMNS} from users where email = %s"
_BY_ID: Final = f"select {_COLUMNS} from users where id = %s"
_LOCK: Final = f"select {_COLUMNS} from users where id = %s for update"
_IN_SESSION: Final = (
    f"select {_COLUMNS} from users where id = %s and status = 'active' and exists (select 1 from"
    " sessions where sessions.id = %s and user_id = users.id and revoked_at is null"
    " and expires_at > now())"
)
_LIST: Final = (
    f"select {_COLUMNS} from users where (%(email)s::text is null or email = %(email)s)"
    " and (%(role)s::text is null or role = %(role)s)"
    " and (%(status)s::text is null or status = %(status)s)"
    " and (%(at)s::timestamptz is null or (created_at, id) > (%(at)s, %(id)s::uuid))"
    " order by created_at, id limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_ADD: Final = (
    "insert into users (id, email, name, role, status, password_hash, email_verified_at)"
    " values (%s, %s, %s, %s, %s, %s, case when %s then now() end)"
    f" on conflict do nothing returning {_COLUMNS}"
)
_AGAIN: Final = (
    "update users set name = %s, password_hash = %s, updated_at = now(), version = version + 1"
    " where id = %s and status = 'pending'"
)
_LOGIN: Final = (
    "update users set last_login_at = now(), password_hash = %s"
    f" where id = %s and password_hash = %s and status = 'active' returning {_COLUMNS}"
)
_PASSWORD: Final = (
    "update users set password_hash = %s, updated_at = now(), version = version + 1"
    f" where id = %s and password_hash = %s and status = 'active' returning {_COLUMNS}"
)
_RESET: Final = (
    "update users set password_hash = %s, status = 'active', updated_at = now(),"
    " email_verified_at = coalesce(email_verified_at, now()), version = version + 1"
    f" where id = %s and status <> 'disabled' returning {_COLUMNS}"
)
_VERIFIED: Final = (
    "update users set status = 'active', email_verified_at = coalesce(email_verified_at, now()),"
    " updated_at = now(), version = version + 1"
    f" where id = %s and status <> 'disabled' returning {_COLUMNS}"
)
_RENAME: Final = (
    "update users set name = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
_ROLE: Final = (
    "update users set role = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
_STATUS: Final = (
    "update users set status = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
# Each of two owners who demote each other waits here, and the second sees what the first did.
_OWNERS: Final = (
    "select id from users where role = 'owner' and status = 'active' order by id for update"
)


@dataclass(frozen=True)
class User:
    """A row of `users`."""

    id: UUID
    email: str
    name: str
    role: str
    status: str
    password_hash: str | None
    email_verified_at: datetime | None
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


async def by_email(db: Verbs, email: str) -> User | None:
    """Return the user with an address."""
    return await db.fetch_optional(_BY_EMAIL, [email], row=User)


async def by_id(db: Verbs, user_id: UUID) -> User | None:
    """Return a user."""
    return await db.fetch_optional(_BY_ID, [user_id], row=User)


async def lock(tx: Verbs, user_id: UUID) -> User | None:
    """Return a user, whom nobody else changes until the transaction ends."""
    return await tx.fetch_optional(_LOCK, [user_id], row=User)


async def in_session(db: Verbs, user_id: UUID, session_id: UUID) -> User | None:
    """Return an active user whose session is not over."""
    return await db.fetch_optional(_IN_SESSION, [user_id, session_id], row=User)


async def page(
    db: Verbs,
    *,
    email: str | None,
    role: str | None,
    status: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[User]:
    """Return some users, oldest first."""
    at, last = after or (None, None)
    params: dict[str, Any] = {
        "email": email,
        "role": role,
        "status": status,
        "at": at,
        "id": last,
        "limit": limit,
    }
    return await db.fetch_all(_LIST, params, row=User)


async def count(db: Verbs, *, email: str | None, role: str | None, status: str | None) -> int:
    """Return how many users `page` has in all."""
    params = {"email": email, "role": role, "status": status, **WHOLE}
    return int(await db.fetch_value(_COUNT, params))


async def add(
    tx: Verbs,
    user_id: UUID,
    *,
    email: str,
    name: str,
    role: str,
    status: str,
    password_hash: str | None,
    verified: bool,
) -> User | None:
    """Add a user; None if the id or the address is taken."""
    values = [user_id, email, name, role, status, password_hash, verified]
    return await tx.fetch_optional(_ADD, values, row=User)


async def register_again(tx: Verbs, user_id: UUID, *, name: str, password_hash: str) -> None:
    """Replace what an account that was never verified was registered with."""
    await tx.execute(_AGAIN, [name, password_hash, user_id])


async def note_login(tx: Verbs, user: User, password_hash: str) -> User | None:
    """Note a login, with the password's hash by the present parameters.

    Returns:
        None if the password was changed, or the account disabled, since it was read.
    """
    return await tx.fetch_optional(_LOGIN, [password_hash, user.id, user.password_hash], row=User)


async def change_password(tx: Verbs, user: User, password_hash: str) -> User | None:
    """Set another password; None if it was changed, or the account disabled, since it was read."""
    values = [password_hash, user.id, user.password_hash]
    return await tx.fetch_optional(_PASSWORD, values, row=User)


async def reset_password(tx: Verbs, user_id: UUID, password_hash: str) -> User | None:
    """Set a password by a mail, which proves the address too; None if the account is disabled."""
    return await tx.fetch_optional(_RESET, [password_hash, user_id], row=User)


async def verify_email(tx: Verbs, user_id: UUID) -> User | None:
    """Note that an address is its owner's; None if the account is disabled."""
    return await tx.fetch_optional(_VERIFIED, [user_id], row=User)


async def rename(tx: Verbs, user_id: UUID, name: str) -> User:
    """Set another name."""
    return await tx.fetch_one(_RENAME, [name, user_id], row=User)


async def set_role(tx: Verbs, user_id: UUID, role: str) -> User:
    """Set another role."""
    return await tx.fetch_one(_ROLE, [role, user_id], row=User)


async def set_status(tx: Verbs, user_id: UUID, status: str) -> User:
    """Set another status."""
    return await tx.fetch_one(_STATUS, [status, user_id], row=User)


async def active_owners(tx: Verbs) -> set[UUID]:
    """Return the active owners, whom nobody else changes until the transaction ends."""
    return {row[0] for row in await tx.fetch_all(_OWNERS)}
