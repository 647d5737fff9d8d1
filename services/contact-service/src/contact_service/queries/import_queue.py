"""SQL of imports that run: in one table for all tenants, whose policy shows a transaction its tenant's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from mtenant_database import Transaction

LEASE: Final = timedelta(seconds=30)
"""For how long an import is left to whoever works on it: far longer than some rows take."""

_ADMIT: Final = "select set_config('mtenant.importer', 'on', true)"
_CLAIM: Final = (
    "update shared.contact_import_queue set due_at = now() + %s, attempts = attempts + 1"
    " where id = (select id from shared.contact_import_queue where due_at <= now()"
    " order by due_at limit 1 for update skip locked) returning id, tenant, attempts"
)
_PUT: Final = (
    "insert into shared.contact_import_queue (id, tenant, due_at) values (%s, %s, now() + %s)"
)
_KEEP: Final = (
    "update shared.contact_import_queue set due_at = now() + %s, attempts = 0 where id = %s"
)
_UNTRIED: Final = (
    "update shared.contact_import_queue set attempts = greatest(attempts - 1, 0) where id = %s"
)
_REMOVE: Final = "delete from shared.contact_import_queue where id = %s"


@dataclass(frozen=True)
class Due:
    """An import that nobody works on.

    Attributes:
        id: Which one, in the schema of its tenant.
        tenant: Whose it is.
        attempts: How often it was begun since it last went on, with this one.
    """

    id: UUID
    tenant: str
    attempts: int


async def admit(tx: Transaction) -> None:
    """Let the transaction see the imports of all tenants."""
    await tx.queue(_ADMIT)


async def claim(tx: Transaction) -> Due | None:
    """Take the import that has waited longest."""
    return await tx.fetch_optional(_CLAIM, [LEASE], row=Due)


async def put(tx: Transaction, which: UUID, wait: timedelta) -> None:
    """Have an import of the transaction's tenant worked on after a while."""
    await tx.execute(_PUT, [which, tx.tenant, wait])


async def keep(tx: Transaction, which: UUID, wait: timedelta = LEASE) -> None:
    """Say that it goes on: nobody else takes it for a while."""
    await tx.execute(_KEEP, [wait, which])


async def untried(tx: Transaction, which: UUID) -> None:
    """Say that it could not be tried; it is still left to itself until its lease ends."""
    await tx.execute(_UNTRIED, [which])


async def remove(tx: Transaction, which: UUID) -> None:
    """Have it worked on no more."""
    await tx.execute(_REMOVE, [which])
