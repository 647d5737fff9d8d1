"""One line of text: what people call things, and values that have to fit into one cell of a file."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

# Control characters, separators of lines, halves of characters, and what XML has no place for.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def is_one_line(text: str) -> bool:
    r"""Tell whether a text is one line that can be stored, mailed and put into any file.

    >>> is_one_line("Hello"), is_one_line("Hello\nAda")
    (True, False)
    """
    return not _UNPRINTABLE.search(text)


def one_line(text: str) -> str:
    """Return a text as it is, if it is one line that can be stored, mailed and put into any file."""
    if not is_one_line(text):
        raise PydanticCustomError("text", "is one line of text")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(one_line),
]
"""What something is called."""
