"""Signing keys, in the shared schema."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from auth_service.domain.signing_key import StoredKey
from mtenant_database import Verbs

_ALL: Final = "select kid, sealed, signs_from from shared.signing_keys"
# Not now(): that is when the transaction began, and it may have waited for the lock since.
_NOW: Final = "select clock_timestamp()"
_ADD: Final = "insert into shared.signing_keys (kid, sealed, signs_from) values (%s, %s, %s)"
_DROP: Final = "delete from shared.signing_keys where kid = any(%s)"


async def everything(db: Verbs) -> tuple[list[StoredKey], datetime]:
    """Return all keys, and what time it is for the database."""
    keys = await db.fetch_all(_ALL, row=StoredKey)
    return keys, await db.fetch_value(_NOW)


async def add(tx: Verbs, key: StoredKey) -> None:
    """Add a key."""
    await tx.execute(_ADD, [key.kid, key.sealed, key.signs_from])


async def drop(tx: Verbs, kids: list[str]) -> None:
    """Forget keys, and with them every token that they signed."""
    await tx.execute(_DROP, [kids])
