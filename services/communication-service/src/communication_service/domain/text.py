"""What requests say: lines, texts, addresses, ids, moments."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

_LONGEST_ADDRESS: Final = 254  # RFC 5321, 4.5.3.1.3
# Not a grammar: a mailbox that a mail to one recipient can name, as the mailer takes it.
_PART: Final = r'[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+'
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def one_spelling(address: str) -> str:
    """Return the spelling in which an address is stored and compared.

    >>> one_spelling("Ada@Example.COM")
    'ada@example.com'
    """
    text = unicodedata.normalize("NFC", address).lower()
    if len(text) > _LONGEST_ADDRESS:  # a letter may become two in lower case
        raise PydanticCustomError("email", "is too long")
    return text


def is_one_line(text: str) -> bool:
    r"""Tell whether a text can stand in a field of a mail's header.

    >>> is_one_line("Hello"), is_one_line("Hello\r\nBcc: everybody@example.com")
    (True, False)
    """
    return not _CONTROL.search(text)


def as_one_line(text: str) -> str:
    r"""Return a text whose control characters are spaces.

    >>> as_one_line("Ada\nLovelace")
    'Ada Lovelace'
    """
    return _CONTROL.sub(" ", text)


def _line(text: str) -> str:
    if not is_one_line(text):
        raise PydanticCustomError("line", "is one line of text")
    return text


def _from_text(value: object) -> object:
    # A number is no id, whatever pydantic makes of it.
    if not isinstance(value, str | UUID | None):
        raise PydanticCustomError("text", "is a string")
    return value


def _from_moment(value: object) -> object:
    # pydantic reads numbers as seconds since 1970, in a query as text.
    if isinstance(value, datetime) or (isinstance(value, str) and _MOMENT.match(value)):
        return value
    raise PydanticCustomError("moment", "is a moment, such as 2026-01-31T12:00:00Z")


def _usual(moment: datetime) -> datetime:
    if not _FIRST <= moment < _LAST:
        raise PydanticCustomError("moment", "is between 1970 and 2200")
    return moment


Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=_LONGEST_ADDRESS, pattern=f"^{_PART}@{_PART}$"),
    AfterValidator(one_spelling),
    Field(examples=["ada@example.com"]),
]
"""An address in a request, in its stored spelling."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_line)]
"""A title or a name."""

Text = Annotated[str, StringConstraints(max_length=20_000)]
"""Whatever somebody has to say."""

Id = Annotated[UUID, Field(strict=False), BeforeValidator(_from_text)]
"""An id in a body."""

Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_from_moment), AfterValidator(_usual)
]
"""A moment in a body, with its distance from UTC (RFC 3339)."""
