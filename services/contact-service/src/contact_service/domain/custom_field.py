"""Custom fields: what a tenant adds to contacts and companies, and which values they take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from contact_service.domain.errors import CustomValuesInvalid
from contact_service.domain.text import one_line

Entity = Literal["contact", "company"]
FieldType = Literal["text", "number", "boolean", "date", "choice"]

Key = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$"), Field(examples=["industry_code"])
]
"""What requests, filters and columns of files call a field."""

LARGEST: Final = 2**53 - 1
"""Beyond it programs that read JSON take one integer for another (RFC 8259, 6)."""

LONGEST: Final = 1000
"""Characters of a text."""

MOST: Final = 100
"""Fields of a tenant."""

Value = (
    Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=LONGEST), AfterValidator(one_line)
    ]
    | bool
    | Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
    | Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
    | None
)
"""A value of any type; null is none."""

Values = Annotated[dict[Key, Value], Field(max_length=MOST)]
"""Values by the keys of their fields."""


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
    entity: Entity
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


def stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that say something: null and an empty text take one away."""
    return {key: value for key, value in values.items() if value not in {None, ""}}


def check_values(
    fields: Sequence[CustomField],
    values: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the values that say something, if all of them fit.

    Args:
        fields: Those that the tenant has.
        values: What is asked for.
        before: Values that were there: they may stay, though a choice is none any more.

    Raises:
        CustomValuesInvalid: Some do not.
    """
    known = {field.key: field for field in fields}
    kept = stated(values)
    errors = [
        {"in": "body", "pointer": f"#/custom/{key}", "type": "custom_field", "detail": why}
        for key, value in kept.items()
        if (before is None or key not in before or not _is_same(before[key], value))
        and (why := known[key].fault(value) if key in known else "is no custom field") is not None
    ]
    if errors:
        raise CustomValuesInvalid(errors=errors)
    return kept


def _is_same(one: object, other: object) -> bool:
    # True equals 1 for Python, and no value of JSON equals one of another type.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


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
