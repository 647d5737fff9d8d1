"""What must not be written: by the name of a field, by the type of a value, by the value itself."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"

MIN_SECRET: Final = 4
"""Characters. A shorter secret would be found in half of all words, so it is refused."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SENSITIVE: Final = frozenset(
    [
        "apikey",
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "cvc",
        "cvv",
        "jwt",
        "otp",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "pin",
        "pwd",
        "secret",
        "sessionid",
        "ssn",
        "token",
    ]
)
# As people run them together; no harmless word ends like these.
_SENSITIVE_ENDS: Final = (
    "apikey",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "token",
)
_SENSITIVE_PAIRS: Final = frozenset(
    (word, "key")
    for word in ["access", "api", "encryption", "hmac", "master", "private", "signing"]
) | {("session", "id"), ("pas", "word")}  # "pas": the plural's s is gone

# User information of a URL (RFC 3986, 3.2.1): what is between the first ":" and the last "@" of the
# authority. No part of it can hold a "/", so the search stays linear.
_URL_PASSWORD: Final = re.compile(r"(://[^\s/?#:@]*:)[^\s/?#]*(?=@)")
# Alone, it is a token where nobody logs in by name: NATS (its documentation, token authentication),
# and HTTP, as git has it.
_URL_TOKEN: Final = re.compile(
    r"(?<![A-Za-z])((?:nats|tls|https?|wss?)://)[^\s/?#:@]+(?=@)", re.IGNORECASE
)

# `password=...` as it stands in a libpq connection string, a query string or a command line. A name is
# tried at its beginning only and not given up letter by letter, so the search stays linear.
_ASSIGNED_NAME: Final = re.compile(r"(?<![\w.-])([\w.-]++)=")
_ASSIGNED_VALUE: Final = re.compile(r"""(')[^']*'?|(")[^"]*"?|[^\s&;,]+""")


@lru_cache(maxsize=4096)
def is_sensitive(key: str) -> bool:
    """Tell whether a field of this name is masked whatever it holds.

    A name is read as segments, so that `token` is found in `access_token`, `accessToken` and
    `api-token`, and not in `tokenizer`. A plural counts as its singular, and the end of a segment as
    a segment: `PGPASSWORD`, `authtoken`.

    >>> [is_sensitive(key) for key in ("accessToken", "api-key", "tokenizer", "monkey")]
    [True, True, False, False]
    """
    words = [word.lower().removesuffix("s") for word in _WORD.findall(key)]
    if not _SENSITIVE.isdisjoint(words) or any(word.endswith(_SENSITIVE_ENDS) for word in words):
        return True
    return any(pair in _SENSITIVE_PAIRS for pair in pairwise(words))


def is_secret(value: object) -> bool:
    """Tell whether a value's type says that it is a secret.

    It does by a class attribute `__secret__` that is true, or by pydantic's `get_secret_value`;
    no class has to be imported for it.
    """
    kind = type(value)
    return bool(getattr(kind, "__secret__", False)) or hasattr(kind, "get_secret_value")


class Secrets:
    """The values that must not appear in any text.

    Attributes:
        search: finds one in a text, or None while there are none.
        epoch: another object after each change, so that what was encoded before is seen as stale.
        longest: characters of the longest form of any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._know(frozenset())

    def register(self, value: object) -> None:
        """Mask this value wherever it appears from now on; see `register_secret`."""
        text = _reveal(value)
        if len(text) < MIN_SECRET:
            raise ValueError(
                f"a secret of fewer than {MIN_SECRET} characters cannot be searched for:"
                " it would be found in harmless words; use a longer one"
            )
        with self._lock:
            self._know(self._forms | _forms(text))

    def clear(self) -> None:
        """Forget all values; for tests."""
        with self._lock:
            self._know(frozenset())

    def _know(self, forms: frozenset[str]) -> None:
        # The longest first: of two secrets where one begins the other, the whole one goes.
        ordered = sorted(forms, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._forms = forms
        self._pattern = pattern
        self.search: Callable[[str], re.Match[str] | None] | None = pattern and pattern.search
        self.longest = len(ordered[0]) if ordered else 0
        # Last: whoever sees the new one finds the rest in place.
        self.epoch: object = object()

    def mask(self, text: str) -> str:
        """Return the text with registered values, passwords of URLs and `password=...` masked."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(MASK, text)
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1{MASK}", text)
            text = _URL_TOKEN.sub(rf"\1{MASK}", text)
        if "=" in text:
            text = _mask_assigned(text)
        return text


def _mask_assigned(text: str) -> str:
    parts: list[str] = []
    done = at = 0
    while (name := _ASSIGNED_NAME.search(text, at)) is not None:
        at = name.end()
        if is_sensitive(name[1]) and (value := _ASSIGNED_VALUE.match(text, at)) is not None:
            mark = value[1] or value[2] or ""
            parts += [text[done:at], mark, MASK, mark]
            done = at = value.end()
    return "".join([*parts, text[done:]]) if parts else text


def _reveal(value: object) -> str:
    for name in ("reveal", "get_secret_value"):
        method = getattr(value, name, None)
        if callable(method):
            value = method()
            break
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if not isinstance(value, str):
        raise TypeError(f"a secret is a str, bytes or a secret type, not {type(value).__name__}")
    return str.__str__(value)


def _forms(text: str) -> frozenset[str]:
    """Return the value as it stands in plain text, in JSON, in a repr and in a URL."""
    forms = {
        text,
        repr(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }
    try:
        forms |= {quote(text, safe=""), quote(text), quote_plus(text)}
    except UnicodeEncodeError:  # a lone surrogate has no form in a URL
        forms.add(text.encode("utf-8", "backslashreplace").decode())
    return frozenset(forms)


SECRETS: Final = Secrets()


def register_secret(value: object) -> None:
    """Mask this value in every line of this process from now on.

    It is found in messages, tags, nested tags, and texts and causes of exceptions; as it is, and as
    it stands inside JSON, a `repr` or a URL. Call it where a secret enters the program.

    Args:
        value: a str, bytes, or a secret type (with `reveal()` or `get_secret_value()`).

    Raises:
        ValueError: it is shorter than four characters; the message does not show it.
        TypeError: it is of another type.
    """
    SECRETS.register(value)
