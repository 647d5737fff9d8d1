"""Which contacts or companies a list has, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Filters, all of which hold, and an order; the id decides between equals.

    Attributes:
        query: A tsquery, as `domain.search.query` makes it.
        equal: Values of columns.
        custom: Values of custom fields.
        created_after: Of those that were made at this time or later.
        created_before: Of those that were made before.
        updated_after: Of those that were changed at this time or later.
        deleted: Those that were deleted, instead of those that are there.
        sort: By what; with a minus the greatest first.
    """

    query: str | None = None
    equal: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    deleted: bool = False
    sort: Sort = "-created_at"

    @property
    def key(self) -> Literal["created_at", "updated_at", "name"]:
        """By what it is sorted."""
        name = self.sort.removeprefix("-")
        return "name" if name == "name" else "created_at" if name == "created_at" else "updated_at"


After = tuple[datetime | str, UUID]
"""The keys of the last row of a page."""
