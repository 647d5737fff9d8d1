"""Texts of requests: names, notes, keys, ids, days."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def a_day(value: object) -> object:
    """Return the text of a date as it is; pydantic takes a count of seconds for one, too."""
    if not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise PydanticCustomError("day", "is no date, YYYY-MM-DD")
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

Id = Annotated[UUID, Field(strict=False)]
"""An id in the body of a request."""

Day = Annotated[date, Field(strict=False), BeforeValidator(a_day)]
"""A day, `YYYY-MM-DD` (RFC 3339, 5.6)."""
