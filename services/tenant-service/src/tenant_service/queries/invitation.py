"""SQL of invitations; the policy of their table shows a transaction those of its tenant."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs
from tenant_service.domain.invitation import Invitation, Status

CLAIM: Final = timedelta(seconds=30)
"""For how long an invitation is that of whoever began to accept it: longer than the call may take."""

_COLUMNS: Final = (
    "id, email, role, case when status = 'pending' and expires_at <= now() then 'expired' else status"
    " end as status, invited_by, user_id, sent, expires_at, accepted_by, accepted_at, created_at, version"
)
_BY_ID: Final = f"select {_COLUMNS} from shared.invitations where id = %s"
_BY_DIGEST: Final = f"select {_COLUMNS} from shared.invitations where digest = %s"
_LIST: Final = (
    f"select {_COLUMNS} from shared.invitations where"
    " (%(status)s::text is null or case when status = 'pending' and expires_at <= now()"
    " then 'expired' else status end = %(status)s) and"
    " (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s::uuid))"
    " order by created_at desc, id desc limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_ALL: Final = f"select {_COLUMNS} from shared.invitations order by created_at, id"
_EXPIRE: Final = (
    "update shared.invitations set status = 'expired', updated_at = now(), version = version + 1"
    " where email = %s and status = 'pending' and expires_at <= now()"
)
_ADD: Final = (
    "insert into shared.invitations (id, tenant, email, role, digest, user_id, invited_by, expires_at)"
    " values (%s, %s, %s, %s, %s, %s, %s, now() + %s) on conflict (tenant, email)"
    f" where status = 'pending' do nothing returning {_COLUMNS}"
)
_RENEW: Final = (
    "update shared.invitations set digest = %s, expires_at = now() + %s, sent = sent + 1,"
    " status = 'pending', updated_at = now(), version = version + 1 where id = %s"
    f" returning {_COLUMNS}"
)
_REVOKE: Final = (
    "update shared.invitations set status = 'revoked', updated_at = now(), version = version + 1"
    " where id = %s"
)
_IS_CLAIMED: Final = (
    "select coalesce(claimed_until > now(), false) from shared.invitations where id = %s"
)
_CLAIM: Final = (
    "update shared.invitations set claimed_until = now() + %s where digest = %s"
    " and status = 'pending' and expires_at > now()"
    f" and (claimed_until is null or claimed_until <= now()) returning {_COLUMNS}"
)
_LET_GO: Final = (
    "update shared.invitations set claimed_until = null where id = %s and status = 'pending'"
)
_ACCEPT: Final = (
    "update shared.invitations set status = 'accepted', accepted_by = %s, accepted_at = now(),"
    " claimed_until = null, updated_at = now(), version = version + 1"
    f" where id = %s and status = 'pending' returning {_COLUMNS}"
)
_OPEN_FOR: Final = (
    "select exists (select from shared.invitations where email = %s and id <> %s"
    " and status = 'pending')"
)
_OPEN: Final = (
    "select count(*) from shared.invitations where status = 'pending' and expires_at > now()"
)


async def add(
    tx: Transaction, email: str, role: str, *, digest: bytes, invited_by: str, lifetime: timedelta
) -> Invitation | None:
    """Add an invitation; None if the address has one that is open."""
    await tx.execute(_EXPIRE, [email])
    values = [uuid4(), tx.tenant, email, role, digest, uuid4(), invited_by, lifetime]
    return await tx.fetch_optional(_ADD, values, row=Invitation)


async def get(on: Verbs, invitation: UUID) -> Invitation | None:
    """Return an invitation."""
    return await on.fetch_optional(_BY_ID, [invitation], row=Invitation)


async def lock(tx: Transaction, invitation: UUID) -> Invitation | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [invitation], row=Invitation)


async def by_digest(on: Verbs, digest: bytes) -> Invitation | None:
    """Return the invitation of a token."""
    return await on.fetch_optional(_BY_DIGEST, [digest], row=Invitation)


async def newest_first(
    on: Verbs, status: Status | None, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Invitation]:
    """Return those of a status, or all."""
    at, last = after or (None, None)
    params = {"status": status, "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_LIST, params, row=Invitation)


async def count(on: Verbs, status: Status | None) -> int:
    """Return how many there are of a status, or in all."""
    return int(await on.fetch_value(_COUNT, {"status": status, **WHOLE}))


async def renew(
    tx: Transaction, invitation: UUID, *, digest: bytes, lifetime: timedelta
) -> Invitation:
    """Give it another token and another end; the token before is worth nothing now."""
    return await tx.fetch_one(_RENEW, [digest, lifetime, invitation], row=Invitation)


async def revoke(tx: Transaction, invitation: UUID) -> None:
    """Close it."""
    await tx.execute(_REVOKE, [invitation])


async def is_claimed(tx: Transaction, invitation: UUID) -> bool:
    """Tell whether somebody is accepting it."""
    return bool(await tx.fetch_value(_IS_CLAIMED, [invitation]))


async def claim(on: Verbs, digest: bytes) -> Invitation | None:
    """Begin to accept it; None if it is not open, or somebody else has begun."""
    return await on.fetch_optional(_CLAIM, [CLAIM, digest], row=Invitation)


async def let_go(on: Verbs, invitation: UUID) -> None:
    """Let somebody else begin to accept it."""
    await on.execute(_LET_GO, [invitation])


async def accept(tx: Transaction, invitation: UUID, user: str) -> Invitation | None:
    """Close it as accepted; None if it was not open."""
    return await tx.fetch_optional(_ACCEPT, [user, invitation], row=Invitation)


async def count_open(tx: Transaction) -> int:
    """Return how many are open."""
    return int(await tx.fetch_value(_OPEN))


async def is_open_for(tx: Transaction, email: str, *, but: UUID) -> bool:
    """Tell whether an address has another one that is open, or was never noted as too old."""
    await tx.execute(_EXPIRE, [email])
    return bool(await tx.fetch_value(_OPEN_FOR, [email, but]))


async def everything(tx: Transaction) -> Sequence[Invitation]:
    """Return all of the tenant's."""
    return await tx.fetch_all(_ALL, row=Invitation)
