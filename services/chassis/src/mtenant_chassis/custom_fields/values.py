"""Values of custom fields: in requests, and beside the fields that a tenant has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from mtenant_chassis.custom_fields.errors import CustomValuesInvalid
from mtenant_chassis.custom_fields.field import LARGEST, CustomField
from mtenant_chassis.line import one_line

Key = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$"), Field(examples=["industry_code"])
]
"""What requests, filters and columns of files call a field."""

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
