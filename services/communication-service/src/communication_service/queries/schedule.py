"""SQL of what is due: in one table for all tenants, whose policy shows a transaction those of its tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from mtenant_database import Transaction

Kind = Literal["reminder", "email"]

_ADMIT: Final = "select set_config('mtenant.scheduler', 'on', true)"
_DUE: Final = (
    "select id, tenant, kind, attempts from shared.communication_schedule"
    " where due_at <= now() order by due_at limit %s"
)
_PUT: Final = (
    "insert into shared.communication_schedule (id, tenant, kind, due_at) values (%s, %s, %s, %s)"
    " on conflict (id) do update set due_at = excluded.due_at, attempts = 0"
)
_PUT_AFTER: Final = (
    "insert into shared.communication_schedule (id, tenant, kind, due_at)"
    " values (%s, %s, %s, now() + %s)"
)
_REMOVE: Final = "delete from shared.communication_schedule where id = %s"
_CLAIM: Final = (
    "select id from shared.communication_schedule where id = %s and due_at <= now()"
    " for update skip locked"
)
_PUT_OFF: Final = (
    "update shared.communication_schedule set due_at = now() + %s, attempts = attempts + 1"
    " where id = %s and due_at <= now()"
)
_WAIT: Final = (
    "update shared.communication_schedule set due_at = now() + %s where id = %s and due_at <= now()"
)


@dataclass(frozen=True)
class Due:
    """Something that is due.

    Attributes:
        id: Of the task or the mail.
        tenant: Whose it is.
        kind: Which of them.
        attempts: How often it has failed.
    """

    id: UUID
    tenant: str
    kind: Kind
    attempts: int


async def admit(tx: Transaction) -> None:
    """Let the transaction see what is due in all tenants."""
    await tx.queue(_ADMIT)


async def due(tx: Transaction, limit: int) -> Sequence[Due]:
    """Return what has been due for the longest time."""
    return await tx.fetch_all(_DUE, [limit], row=Due)


async def put(tx: Transaction, which: UUID, kind: Kind, due_at: datetime) -> None:
    """Have something done at a time, or at another one than before."""
    await tx.execute(_PUT, [which, tx.tenant, kind, due_at])


async def put_after(tx: Transaction, which: UUID, kind: Kind, wait: timedelta) -> None:
    """Have something new done after a while, by the database's clock."""
    await tx.execute(_PUT_AFTER, [which, tx.tenant, kind, wait])


async def remove(tx: Transaction, which: UUID) -> None:
    """Have it done no more."""
    await tx.execute(_REMOVE, [which])


async def claim(tx: Transaction, which: UUID) -> bool:
    """Take what is due; until the transaction ends, and if it dies nobody else has to wait.

    False if somebody else has it or had it.
    """
    return await tx.fetch_optional(_CLAIM, [which]) is not None


async def put_off(tx: Transaction, which: UUID, wait: timedelta) -> None:
    """Have it tried again later; of several who failed with it at a time one says so."""
    await tx.execute(_PUT_OFF, [wait, which])


async def wait(tx: Transaction, which: UUID, wait: timedelta) -> None:
    """Have it tried later, though it was not tried now."""
    await tx.execute(_WAIT, [wait, which])
