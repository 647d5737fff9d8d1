"""A secret string that shows itself to nobody who does not ask, and the guess which names are secret."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from typing import ClassVar, NoReturn
from urllib.parse import unquote

from mtenant_config.names import fold

MASK = "***"

_WORDS_INSIDE = re.compile(
    r"passw|passphrase|secret|credential|token|api_?key|private_?key|access_?key|cookie|bearer"
)
_WHOLE_WORDS = frozenset(
    {"auth", "dsn", "key", "keys", "pass", "pepper", "pin", "pwd", "salt", "signature"}
)
_URL_PASSWORD = re.compile(
    r"(?P<head>[a-z][a-z0-9+.-]{0,30}://[^/?#\s]*?:)[^\s]*(?=@)", re.IGNORECASE
)
_URL_TOKEN = re.compile(r"(?P<head>https?://)[^/?#\s@:]+(?=@)", re.IGNORECASE)
_PARAMETER_PASSWORD = re.compile(
    r"(?P<head>(?:passw\w*|pwd|secret|token|\w*key)\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&;,]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


class Secret:
    """A string that is opaque in `repr`, `str`, `format`, logs, JSON and pickle.

    `json.dumps` and `pickle.dumps` refuse it with a TypeError: a mask that is written to a file or
    a queue would be taken for the password by whoever reads it back. Copies are the same object.
    Equality takes time that does not depend on where two secrets differ.

    Other libraries recognise it by its class attribute `__secret__`, without importing this one.

    >>> password = Secret("hunter2")
    >>> f"{password} {password!r}"
    "*** Secret('***')"
    >>> password.reveal()
    'hunter2'
    """

    __slots__ = ("reveal",)
    __secret__: ClassVar[bool] = True

    reveal: Callable[[], str]
    """Returns the text. The one way to it, so that a search for `reveal` finds every use."""

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"a Secret holds a str, not {type(value).__name__}")
        # A closure, not an attribute: "{0._value}".format(secret), vars(), pprint and the error
        # trackers that walk an object's slots find a function there and no text.
        object.__setattr__(self, "reveal", lambda: value)

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; pass the setting's name and read it again")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to hand out; call reveal()")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change")


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")


def names_a_secret(key: str) -> bool:
    """Guess from a key whether its value is secret, where no schema says so.

    Rather one too many than one too few: `cache.key` is masked too.

    >>> [names_a_secret(key) for key in ("db.password", "signing-key", "db.port")]
    [True, True, False]
    """
    folded = fold(key)
    words = folded.replace(".", "_").split("_")
    return bool(_WORDS_INSIDE.search(folded)) or not _WHOLE_WORDS.isdisjoint(words)


def without_passwords(text: str) -> str:
    """Return the text with the passwords of URLs and of `password=...` parameters masked.

    >>> without_passwords("postgresql://crm:hunter2@db/crm")
    'postgresql://crm:***@db/crm'
    >>> without_passwords("host=db password=hunter2")
    'host=db password=***'
    """
    masked = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    masked = _URL_TOKEN.sub(rf"\g<head>{MASK}", masked)
    return _PARAMETER_PASSWORD.sub(rf"\g<head>{MASK}", masked)


def without_secrets(text: str, secrets: Iterable[Secret]) -> str:
    """Return the text with these secrets masked, and with each word that is one of theirs.

    A check may quote a part of what it was given: `urlsplit` names the port that is none, and that
    is the password when its `@` was forgotten. So a harmless word may be masked as well.

    >>> without_secrets("no port: 'hunter2'", [Secret("postgresql://crm:hunter2")])
    "no port: '***'"
    """
    forms: set[str] = set()
    for secret in secrets:
        plain = secret.reveal()
        forms |= {plain, unquote(plain), repr(plain)[1:-1], repr(unquote(plain))[1:-1]}
    # Longest first: a secret may be a part of another.
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = text.replace(form, MASK)
    words = {word for form in forms for word in _WORD.findall(form)}
    return _WORD.sub(lambda match: MASK if match[0] in words else match[0], text)
