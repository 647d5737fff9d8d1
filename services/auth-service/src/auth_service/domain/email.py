"""Addresses: one spelling for each."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

_LONGEST: Final = 254  # RFC 5321, 4.5.3.1.3
# Not a grammar: a mailbox that a mail to one recipient can name, as the mailer takes it.
_PART: Final = r'[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+'


def normal(email: str) -> str:
    """Return the spelling that is stored and compared.

    >>> normal("Ada@Example.COM")
    'ada@example.com'
    """
    text = unicodedata.normalize("NFC", email).lower()
    if len(text) > _LONGEST:  # some letters are two in lower case
        raise PydanticCustomError("email", "is too long")
    return text


Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=_LONGEST, pattern=f"^{_PART}@{_PART}$"),
    AfterValidator(normal),
]
"""An address in a request, in its stored spelling."""
