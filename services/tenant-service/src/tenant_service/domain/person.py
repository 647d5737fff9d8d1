"""What requests say of people: addresses, names, passwords."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

_LONGEST_ADDRESS: Final = 254  # RFC 5321, 4.5.3.1.3
_MAILBOX: Final = (
    r'^[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+@[^\s@,;:<>"()\[\]\\\x00-\x1f\x7f-\x9f]+$'
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_NO_TEXT: Final = re.compile(r"[\x00\ud800-\udfff]")


def one_spelling(address: str) -> str:
    """Return the spelling in which an address is stored and compared.

    >>> one_spelling("Ada@Example.COM")
    'ada@example.com'
    """
    text = unicodedata.normalize("NFC", address).lower()
    if len(text) > _LONGEST_ADDRESS:  # a letter may become two in lower case
        raise PydanticCustomError("email", "is too long")
    return text


def one_line(text: str) -> str:
    """Return a name as it is; it stands in subjects of mails, so it is one line."""
    if _CONTROL.search(text):
        raise PydanticCustomError("name", "is one line of text")
    return text


def whole_text(password: SecretStr) -> SecretStr:
    """Return a password as it is; half a character cannot be sent, and NUL cannot be typed."""
    if _NO_TEXT.search(password.get_secret_value()):
        raise PydanticCustomError("password", "is text, without half a character")
    return password


Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=_LONGEST_ADDRESS, pattern=_MAILBOX),
    AfterValidator(one_spelling),
    Field(examples=["ada@example.com"]),
]
"""An address, in its one spelling."""

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(one_line),
]
"""What somebody or something is called."""

NewPassword = Annotated[
    SecretStr,
    Field(min_length=12, max_length=256, examples=["correct horse battery staple"]),
    AfterValidator(whole_text),
]
"""A password on its way to auth-service, whose rules decide; this service keeps none."""
