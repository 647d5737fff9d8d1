"""Texts of requests and of files: lines, addresses, ids, and values of JSON that are written as texts."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from mtenant_chassis.line import is_one_line, one_line

_LONGEST_ADDRESS: Final = 254  # RFC 5321, 4.5.3.1.3
_MAILBOX: Final = (
    r'^[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+@[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+$'
)


def one_spelling(address: str) -> str:
    """Return the spelling in which an address is stored and compared.

    >>> one_spelling("Ada@Example.COM")
    'ada@example.com'
    """
    text = unicodedata.normalize("NFC", address).lower()
    if len(text) > _LONGEST_ADDRESS:  # a letter may become two in lower case
        raise PydanticCustomError("email", "is too long")
    if not is_one_line(text):
        raise PydanticCustomError("email", "is no address")
    return text


def text_or_none(text: str | None) -> str | None:
    """Return None for a text that says nothing: forms and files send it empty."""
    return text or None


def written(value: object) -> object:
    """Return a text as it is: a number of JSON is no id, though one can be made of it."""
    if not isinstance(value, str | UUID):
        raise PydanticCustomError("text", "is no text")
    return value


Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=_LONGEST_ADDRESS, pattern=_MAILBOX
    ),
    AfterValidator(one_spelling),
    Field(examples=["ada@example.com"]),
]
"""An address, in its one spelling."""

Line = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(one_line)
]
"""One line of text; it may be empty."""

OptionalLine = Annotated[Line | None, AfterValidator(text_or_none)]
"""One line of text, or nothing."""

Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}$")]
"""The id of a user."""

Id = Annotated[UUID, Field(strict=False), BeforeValidator(written)]
"""An id in the body of a request."""
