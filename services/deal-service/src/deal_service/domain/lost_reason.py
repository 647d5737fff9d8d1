"""Reasons why deals are lost, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True)
class LostReason:
    """A reason.

    Attributes:
        id: Its id.
        key: What requests and events call it; never changed.
        name: What people call it.
        is_active: Whether deals may be lost for it from now on.
        created_at: When it was made.
        updated_at: When it was changed.
        version: Grows with every change.
    """

    id: UUID
    key: str
    name: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int
