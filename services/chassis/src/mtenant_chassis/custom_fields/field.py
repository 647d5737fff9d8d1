"""CustomField: what a tenant adds to its things, and which values it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

FieldType = Literal["text", "number", "boolean", "date", "choice"]

LARGEST: Final = 2**53 - 1
"""Beyond it programs that read JSON take one integer for another (RFC 8259, 6)."""


@dataclass(frozen=True)
class CustomField:
    """A field that a tenant has added.

    Attributes:
        id: Its id.
        entity: What has it.
        key: What it is called by programs; never changed.
        label: What it is called by people.
        type: Of its values; never changed.
        choices: What a `choice` can be.
        created_at: When it was added.
        updated_at: When it was changed.
        version: Grows with every change.
    """

    id: UUID
    entity: str
    key: str
    label: str
    type: FieldType
    choices: Sequence[str] | None
    created_at: datetime
    updated_at: datetime
    version: int

    def fault(self, value: object) -> str | None:
        """Return why a value is none of this field's; None if it is one."""
        if self.type == "text":
            return None if isinstance(value, str) else "is no text"
        if self.type == "boolean":
            return None if isinstance(value, bool) else "is neither true nor false"
        if self.type == "number":
            return None if _is_number(value) else "is no number"
        if self.type == "choice":
            return None if value in (self.choices or ()) else "is none of the choices"
        return None if isinstance(value, str) and _is_date(value) else "is no date, YYYY-MM-DD"

    def parse(self, text: str) -> Any:
        """Return the value that a text of a file or of a filter stands for.

        Raises:
            ValueError: It stands for none; the message says why.
        """
        value: object = text
        if self.type == "number":
            value = _number(text)
        elif self.type == "boolean":
            value = {"true": True, "false": False}.get(text.lower())
        why = self.fault(value)
        if why is not None:
            raise ValueError(why)
        return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) <= LARGEST


def _number(text: str) -> int | float | None:
    if not text.isascii() or "_" in text:  # which int() and float() would take
        return None
    # Long ones as floats: the time that int() takes grows with the square of the length.
    for read in (int, float) if len(text) < 20 else (float,):
        with suppress(ValueError):
            return read(text)
    return None


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
