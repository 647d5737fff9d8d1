"""What people type to find somebody, and the words that they find."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_LONGEST: Final = 64
_MOST: Final = 16


def fold(text: str) -> str:
    """Return a text without case and accents.

    >>> fold("Müller ÉCOLE")
    'muller ecole'
    """
    if text.isascii():
        return text.lower()  # there are no accents in it, and nothing else to fold
    apart = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def words(texts: Iterable[str | None]) -> list[str]:
    """Return the words of some texts, folded, each once.

    >>> words(["Ada Lovelace", "ada@example.com", None])
    ['ada', 'com', 'example', 'lovelace']
    """
    found = _WORD.findall(fold(" ".join(filter(None, texts))))
    return sorted({word[:_LONGEST] for word in found})


def query(text: str) -> str | None:
    """Return the tsquery of what was typed: all of its words, each as a beginning; None if it has none.

    It is a query and never syntax: its words are letters and digits.

    >>> query("Love & Ada")
    "'love':* & 'ada':*"
    >>> query("&|!*") is None
    True
    """
    typed = list(dict.fromkeys(_WORD.findall(fold(text))))[:_MOST]
    return " & ".join(f"'{word[:_LONGEST]}':*" for word in typed) or None
