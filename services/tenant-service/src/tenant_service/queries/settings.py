"""SQL of the tenant's settings and of its users' preferences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mtenant_database import Transaction, Verbs

_SETTINGS: Final = 'select settings as "values", version from tenant_settings'
_PUT_SETTINGS: Final = (
    "update tenant_settings set settings = %s, version = version + 1, updated_at = now()"
    " returning version"
)
_PREFERENCES: Final = (
    'select preferences as "values", version from user_preferences where user_id = %s'
)
_PUT_PREFERENCES: Final = (
    "insert into user_preferences (user_id, preferences) values (%s, %s) on conflict (user_id) do"
    " update set preferences = excluded.preferences, version = user_preferences.version + 1,"
    " updated_at = now() returning version"
)
_FIRST_PREFERENCES: Final = (
    "insert into user_preferences (user_id) values (%s) on conflict (user_id) do nothing"
)
_ALL_PREFERENCES: Final = "select user_id, preferences from user_preferences order by user_id"
_USERS: Final = "select count(*) from user_preferences"


@dataclass(frozen=True)
class Row:
    """A row of values.

    Attributes:
        values: By name; what is not there has its default.
        version: Grows with every change.
    """

    values: Mapping[str, Any]
    version: int


async def settings(on: Verbs) -> Row:
    """Return the tenant's settings."""
    return await on.fetch_one(_SETTINGS, row=Row)


async def lock_settings(tx: Transaction) -> Row:
    """Return them, and let nobody else change them until the transaction ends."""
    return await tx.fetch_one(f"{_SETTINGS} for update", row=Row)


async def put_settings(tx: Transaction, values: Mapping[str, Any]) -> int:
    """Replace them; return the new version."""
    return int(await tx.fetch_value(_PUT_SETTINGS, [json.dumps(values)]))


async def preferences(on: Verbs, user: str) -> Row | None:
    """Return a user's preferences."""
    return await on.fetch_optional(_PREFERENCES, [user], row=Row)


async def lock_preferences(tx: Transaction, user: str) -> Row | None:
    """Return them, and let nobody else change them until the transaction ends."""
    return await tx.fetch_optional(f"{_PREFERENCES} for update", [user], row=Row)


async def put_preferences(tx: Transaction, user: str, values: Mapping[str, Any]) -> int:
    """Replace them; return the new version."""
    return int(await tx.fetch_value(_PUT_PREFERENCES, [user, json.dumps(values)]))


async def first_preferences(tx: Transaction, user: str) -> None:
    """Give a user the default ones; nothing happens if there are some."""
    await tx.execute(_FIRST_PREFERENCES, [user])


async def count_users(tx: Transaction) -> int:
    """Return how many accounts are known."""
    return int(await tx.fetch_value(_USERS))


async def all_preferences(tx: Transaction) -> list[tuple[str, Mapping[str, Any]]]:
    """Return those of all users."""
    rows = await tx.fetch_all(_ALL_PREFERENCES)
    return [(row[0], row[1]) for row in rows]
