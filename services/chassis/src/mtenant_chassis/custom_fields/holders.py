"""Holders: what has custom fields in a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtenant_chassis.custom_fields.filter import values_of
from mtenant_chassis.custom_fields.table import FieldTable
from mtenant_chassis.custom_fields.values import check_values
from mtenant_database import Transaction, Verbs


@dataclass(frozen=True, kw_only=True)
class Holders:
    """What has custom fields in a service, and how the service finds out about them.

    Attributes:
        entities: What a field can belong to, such as `("contact", "company")`.
        names: The same as people say it, such as `contacts or companies`.
        table: Of the fields.
        is_in_use: Tells whether anything of an entity has a value under a key, deleted or not.
        forget: Takes the values under a key, before its field goes, from what nobody can change.
    """

    entities: tuple[str, ...]
    names: str
    table: FieldTable
    is_in_use: Callable[[Verbs, str, str], Awaitable[bool]]
    forget: Callable[[Transaction, str, str], Awaitable[None]] | None = None

    async def checked(
        self,
        tx: Transaction,
        entity: str,
        values: Mapping[str, Any],
        before: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the values that say something; none of their fields goes until the transaction ends.

        Args:
            tx: The open transaction. Without values nothing is sent.
            entity: What they are of.
            values: What is asked for.
            before: Values that were there: they may stay, though a choice is none any more.

        Raises:
            CustomValuesInvalid: Some do not fit.
        """
        if not values:
            return {}
        return check_values(await self.table.hold(tx, entity, values), values, before)

    async def wanted(
        self, on: Verbs, entity: str, written: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        """Return the values that filters of a request ask for; without filters nothing is sent.

        Raises:
            FilterInvalid: There is no such field, or it has no such value.
        """
        return values_of(await self.table.of(on, entity), written) if written else {}
