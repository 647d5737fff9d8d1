"""FieldTable: the SQL of custom fields, for the table of any service."""

# ruff: noqa: S608 - the table's name is a constant of a service

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from mtenant_chassis.custom_fields.field import CustomField
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = "id, entity, key, label, type, choices, created_at, updated_at, version"


class FieldTable:
    """A table of custom fields in each tenant's schema.

    Its columns are those of `CustomField`, each with what a migration of the service says of it, and
    (entity, key) is unique.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        select = f"select {_COLUMNS} from {name}"
        self._of = f"{select} where entity = %s order by key"
        self._all = f"{select} order by entity, key"
        self._by_id = f"{select} where id = %s"
        self._lock = f"{self._by_id} for no key update"
        self._lock_out = f"{self._by_id} for update"
        self._hold = f"{select} where entity = %s and key = any(%s) order by key for key share"
        self._count = f"select count(*) from {name}"
        self._add = (
            f"insert into {name} (id, entity, key, label, type, choices)"
            " values (%(id)s, %(entity)s, %(key)s, %(label)s, %(type)s, %(choices)s)"
            f" on conflict (entity, key) do nothing returning {_COLUMNS}"
        )
        self._change = (
            f"update {name} set label = %s, choices = %s, updated_at = now(),"
            f" version = version + 1 where id = %s returning {_COLUMNS}"
        )
        self._delete = f"delete from {name} where id = %s"

    async def of(self, on: Verbs, entity: str) -> Sequence[CustomField]:
        """Return the fields of an entity."""
        return await on.fetch_all(self._of, [entity], row=CustomField)

    async def everything(self, on: Verbs) -> Sequence[CustomField]:
        """Return all fields."""
        return await on.fetch_all(self._all, row=CustomField)

    async def get(self, on: Verbs, field: UUID) -> CustomField | None:
        """Return a field."""
        return await on.fetch_optional(self._by_id, [field], row=CustomField)

    async def lock(self, tx: Transaction, field: UUID) -> CustomField | None:
        """Return it, and let nobody else change it until the transaction ends."""
        return await tx.fetch_optional(self._lock, [field], row=CustomField)

    async def lock_out(self, tx: Transaction, field: UUID) -> CustomField | None:
        """The same, and nothing is given a value of it meanwhile."""
        return await tx.fetch_optional(self._lock_out, [field], row=CustomField)

    async def hold(
        self, tx: Transaction, entity: str, keys: Collection[str]
    ) -> Sequence[CustomField]:
        """Return those with these keys; none of them is deleted until the transaction ends."""
        return await tx.fetch_all(self._hold, [entity, list(keys)], row=CustomField)

    async def count(self, on: Verbs) -> int:
        """Return how many there are."""
        return int(await on.fetch_value(self._count))

    async def add(self, tx: Transaction, values: dict[str, Any]) -> CustomField | None:
        """Add a field; None if there is one with this key."""
        return await tx.fetch_optional(self._add, values, row=CustomField)

    async def change(
        self, tx: Transaction, field: UUID, label: str, choices: Sequence[str] | None
    ) -> CustomField:
        """Call it something else, and let it have other choices."""
        given = None if choices is None else list(choices)
        return await tx.fetch_one(self._change, [label, given, field], row=CustomField)

    async def delete(self, tx: Transaction, field: UUID) -> None:
        """Delete it."""
        await tx.execute(self._delete, [field])
