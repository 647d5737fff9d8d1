"""Texts of requests: names, notes, keys, and values of JSON that are written as texts."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError


def written(value: object) -> object:
    """Return a text as it is: a number of JSON is no date, though a date can be made of it."""
    if not isinstance(value, str | date | UUID):
        raise PydanticCustomError("text", "is no text")
    return value


def storable(text: str) -> str:
    """Return a text as it is; PostgreSQL has no place for NUL, and UTF-8 none for half a character."""
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PydanticCustomError("text", "has a character that cannot be kept")
    return text


Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$",
    ),
    AfterValidator(storable),
]
"""What something is called: one line."""

Note = Annotated[str, StringConstraints(max_length=2000), AfterValidator(storable)]
"""What somebody has to say about it."""

Key = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$"), Field(examples=["closed_won"])
]
"""What requests and events call a stage or a reason."""

Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}$")]
"""The id of a user."""

Id = Annotated[UUID, Field(strict=False), BeforeValidator(written)]
"""An id in the body of a request."""

Day = Annotated[date, Field(strict=False), BeforeValidator(written)]
"""A day in the body of a request, `YYYY-MM-DD`."""
