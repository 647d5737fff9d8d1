"""SQL of reasons why deals are lost."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from deal_service.domain.lost_reason import LostReason
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = "id, key, name, is_active, created_at, updated_at, version"
_ALL: Final = f"select {_COLUMNS} from lost_reasons order by key"
_BY_ID: Final = f"select {_COLUMNS} from lost_reasons where id = %s"
_ACTIVE: Final = f"select {_COLUMNS} from lost_reasons where is_active order by key for key share"
_ADD: Final = (
    "insert into lost_reasons (id, key, name) values (%s, %s, %s) on conflict (key) do nothing"
    f" returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update lost_reasons set name = %s, is_active = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
_DELETE: Final = "delete from lost_reasons where id = %s"
_IN_USE: Final = "select exists (select from deals where lost_reason_id = %s)"


async def every(on: Verbs) -> Sequence[LostReason]:
    """Return all, by their keys."""
    return await on.fetch_all(_ALL, row=LostReason)


async def active(tx: Transaction) -> Sequence[LostReason]:
    """Return those for which deals may be lost; none of them goes until the transaction ends."""
    return await tx.fetch_all(_ACTIVE, row=LostReason)


async def get(on: Verbs, reason: UUID) -> LostReason | None:
    """Return one."""
    return await on.fetch_optional(_BY_ID, [reason], row=LostReason)


async def lock(tx: Transaction, reason: UUID) -> LostReason | None:
    """Return one that nobody else changes until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [reason], row=LostReason)


async def add(tx: Transaction, reason: UUID, key: str, name: str) -> LostReason | None:
    """Add one; None if its key is taken."""
    return await tx.fetch_optional(_ADD, [reason, key, name], row=LostReason)


async def change(tx: Transaction, reason: UUID, name: str, *, is_active: bool) -> LostReason:
    """Change one."""
    return await tx.fetch_one(_CHANGE, [name, is_active, reason], row=LostReason)


async def delete(tx: Transaction, reason: UUID) -> None:
    """Remove one for which no deal was lost."""
    await tx.execute(_DELETE, [reason])


async def is_in_use(tx: Transaction, reason: UUID) -> bool:
    """Tell whether deals were lost for it, deleted ones among them."""
    return bool(await tx.fetch_value(_IN_USE, [reason]))
