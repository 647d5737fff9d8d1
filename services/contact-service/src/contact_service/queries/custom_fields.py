"""SQL of custom fields."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from contact_service.domain.custom_field import CustomField, Entity
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = "id, entity, key, label, type, choices, created_at, updated_at, version"
_OF: Final = f"select {_COLUMNS} from custom_fields where entity = %s order by key"
_ALL: Final = f"select {_COLUMNS} from custom_fields order by entity, key"
_BY_ID: Final = f"select {_COLUMNS} from custom_fields where id = %s"
_LOCK: Final = f"{_BY_ID} for no key update"
_LOCK_OUT: Final = f"{_BY_ID} for update"
_HOLD: Final = (
    f"select {_COLUMNS} from custom_fields where entity = %s and key = any(%s) order by key"
    " for key share"
)
_COUNT: Final = "select count(*) from custom_fields"
_ADD: Final = (
    "insert into custom_fields (id, entity, key, label, type, choices)"
    " values (%(id)s, %(entity)s, %(key)s, %(label)s, %(type)s, %(choices)s)"
    f" on conflict (entity, key) do nothing returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update custom_fields set label = %s, choices = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
_DELETE: Final = "delete from custom_fields where id = %s"
# Materialized, or the first that it meets by reading the table would seem cheaper than the index.
_CONTACTS_HAVE: Final = (
    "with found as materialized (select id from contacts where custom ? %s and merged_into is null)"
    " select exists (select from found)"
)
_COMPANIES_HAVE: Final = (
    "with found as materialized (select id from companies where custom ? %s)"
    " select exists (select from found)"
)
_FORGET: Final = (
    "update contacts set custom = custom - %(key)s::text"
    " where custom ? %(key)s and merged_into is not null"
)


async def of(on: Verbs, entity: Entity) -> Sequence[CustomField]:
    """Return the fields of contacts or of companies."""
    return await on.fetch_all(_OF, [entity], row=CustomField)


async def everything(on: Verbs) -> Sequence[CustomField]:
    """Return all fields."""
    return await on.fetch_all(_ALL, row=CustomField)


async def get(on: Verbs, field: UUID) -> CustomField | None:
    """Return a field."""
    return await on.fetch_optional(_BY_ID, [field], row=CustomField)


async def lock(tx: Transaction, field: UUID) -> CustomField | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(_LOCK, [field], row=CustomField)


async def lock_out(tx: Transaction, field: UUID) -> CustomField | None:
    """The same, and nothing is given a value of it meanwhile."""
    return await tx.fetch_optional(_LOCK_OUT, [field], row=CustomField)


async def hold(tx: Transaction, entity: Entity, keys: Collection[str]) -> Sequence[CustomField]:
    """Return those with these keys; none of them is deleted until the transaction ends."""
    return await tx.fetch_all(_HOLD, [entity, list(keys)], row=CustomField)


async def count(on: Verbs) -> int:
    """Return how many there are."""
    return int(await on.fetch_value(_COUNT))


async def add(tx: Transaction, values: dict[str, Any]) -> CustomField | None:
    """Add a field; None if there is one with this key."""
    return await tx.fetch_optional(_ADD, values, row=CustomField)


async def change(
    tx: Transaction, field: UUID, label: str, choices: Sequence[str] | None
) -> CustomField:
    """Call it something else, and let it have other choices."""
    given = None if choices is None else list(choices)
    return await tx.fetch_one(_CHANGE, [label, given, field], row=CustomField)


async def delete(tx: Transaction, field: UUID) -> None:
    """Delete it."""
    await tx.execute(_DELETE, [field])


async def is_in_use(on: Verbs, entity: Entity, key: str) -> bool:
    """Tell whether anything has a value of it, deleted or not.

    Contacts that were merged away do not count: nobody can take a value from them.
    """
    have = _CONTACTS_HAVE if entity == "contact" else _COMPANIES_HAVE
    return bool(await on.fetch_value(have, [key]))


async def forget_values(tx: Transaction, key: str) -> None:
    """Take what is left of a field from contacts that were merged away."""
    await tx.execute(_FORGET, {"key": key})
