"""CustomFields: fields are added, changed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mtenant_chassis.audit import AuditTrail
from mtenant_chassis.custom_fields.errors import (
    ChoicesInvalid,
    CustomFieldInUse,
    CustomFieldLimit,
    CustomFieldNotFound,
    CustomFieldTaken,
)
from mtenant_chassis.custom_fields.field import CustomField, FieldType
from mtenant_chassis.custom_fields.holders import Holders
from mtenant_chassis.custom_fields.values import MOST
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction
from mtenant_events.uuid7 import uuid7_number


@dataclass(frozen=True)
class CustomFields:
    """Changes the fields of one tenant in one transaction, with audit entries.

    Attributes:
        holders: What has them.
        tx: The open transaction.
        audit: The request's trail.
    """

    holders: Holders
    tx: Transaction
    audit: AuditTrail

    async def create(
        self, entity: str, key: str, *, label: str, of: FieldType, choices: Sequence[str] | None
    ) -> CustomField:
        """Add a field.

        Raises:
            ChoicesInvalid: Choices and type do not belong together.
            CustomFieldTaken: The key is another field's.
            CustomFieldLimit: There are as many as a tenant may have.
        """
        _check_choices(of, choices)
        await self.tx.lock(f"{self.audit.service} custom fields")
        if await self.holders.table.count(self.tx) >= MOST:
            raise CustomFieldLimit(most=MOST)
        values: dict[str, Any] = {
            "id": UUID(int=uuid7_number()),
            "entity": entity,
            "key": key,
            "label": label,
            "type": of,
            "choices": None if choices is None else list(choices),
        }
        made = await self.holders.table.add(self.tx, values)
        if made is None:
            raise CustomFieldTaken
        await self.audit.record(
            self.tx, "custom_field.created", "custom_field", made.id, after=values
        )
        return made

    async def change(
        self,
        field: UUID,
        *,
        label: str | None,
        choices: Sequence[str] | None,
        condition: Condition,
    ) -> CustomField:
        """Call a field something else, or let it have other choices; values that are there stay.

        Raises:
            CustomFieldNotFound: There is none.
            ChoicesInvalid: It is no choice.
        """
        before = _there(await self.holders.table.lock(self.tx, field), condition)
        now = before.choices if choices is None else choices
        _check_choices(before.type, now)
        after = await self.holders.table.change(self.tx, field, label or before.label, now)
        was = {"label": before.label, "choices": before.choices}
        said = {"label": after.label, "choices": after.choices}
        await self.audit.record(
            self.tx, "custom_field.updated", "custom_field", field, before=was, after=said
        )
        return after

    async def delete(self, field: UUID, condition: Condition) -> None:
        """Remove a field that nothing has a value of.

        Raises:
            CustomFieldNotFound: There is none.
            CustomFieldInUse: Something has one.
        """
        before = _there(await self.holders.table.lock_out(self.tx, field), condition)
        if await self.holders.is_in_use(self.tx, before.entity, before.key):
            raise CustomFieldInUse(holders=self.holders.names)
        if self.holders.forget is not None:
            await self.holders.forget(self.tx, before.entity, before.key)
        await self.holders.table.delete(self.tx, field)
        said = {"entity": before.entity, "key": before.key, "type": before.type}
        await self.audit.record(self.tx, "custom_field.deleted", "custom_field", field, before=said)


def _there(found: CustomField | None, condition: Condition) -> CustomField:
    if found is None:
        raise CustomFieldNotFound
    condition.check(found.version)
    return found


def _check_choices(of: FieldType, choices: Sequence[str] | None) -> None:
    if (of == "choice") != bool(choices) or len(set(choices or ())) != len(choices or ()):
        raise ChoicesInvalid
