"""A value in one layer, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from mtenant_config.secret import MASK, Secret, names_a_secret, without_passwords

MAX_SECRET_FILE_BYTES = 1024 * 1024
"""A secret is a password or a key. What is larger is the wrong file."""


MAX_SHOWN_TEXT = 2000
"""Longest text that is shown, in characters: a part of one could show a password unmasked."""

MAX_SHOWN_DEPTH = 4
"""Deepest list or table that is shown; YAML aliases can make a small one endless."""


class Layer(IntEnum):
    """The layers, lowest first: a higher one hides a lower one."""

    DEFAULT = 0
    FILE = 1
    FILE_ENVIRONMENT = 2
    OPTIONAL_FILE = 3
    DOTENV = 4
    ENVIRONMENT = 5
    SECRET_FILE = 6
    OVERRIDE = 7


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stands.

    Attributes:
        layer: The layer that holds it.
        name: A file's path, a variable's name, or a word for what has neither.
        line: The line in the file, from 1, where it is known.
        inside: The section of the file, or the variable inside a `.env` file.
    """

    layer: Layer
    name: str
    line: int | None = None
    inside: str | None = None

    def __str__(self) -> str:
        place = f"{self.name}:{self.line}" if self.line else self.name
        return f"{place} {self.inside}" if self.inside else place


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands for a value that cannot be used, and says why; nobody minds until somebody asks."""

    reason: str
    conflict: bool = False


def decoded(text: str) -> str | Unusable:
    """Return the text, unless it cannot be UTF-8: bytes that are none were smuggled into it (PEP 383)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Unusable("is not UTF-8 text")
    return text


class FileReference:
    """The content of a file that a variable or a secrets directory names, read when it is needed.

    Only when needed, because many variables that end in `_FILE` are plain paths: `CRM_LOG_FILE`
    may name a pipe or a file of gigabytes.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def content(self) -> str | Unusable:
        """The text without the one newline that editors put at its end; kept once it is read."""
        if not self._path:
            return Unusable("names no file")
        try:
            with Path(self._path).open("rb") as file:
                data = file.read(MAX_SECRET_FILE_BYTES + 1)
        except (OSError, ValueError) as exc:
            # A ValueError is a path with a NUL in it.
            why = exc.strerror if isinstance(exc, OSError) else "not a path"
            return Unusable(f"its file cannot be read ({why})")
        if len(data) > MAX_SECRET_FILE_BYTES:
            return Unusable("its file is larger than 1 MiB")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return Unusable("its file is not UTF-8 text")
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Setting:
    """One value of one layer. Compared by identity, so that no comparison looks at a secret."""

    key: str
    raw: object
    origin: Origin

    @property
    def value(self) -> object:
        """The value as its layer holds it: text, a file's typed value, or an `Unusable`."""
        return self.raw.content if isinstance(self.raw, FileReference) else self.raw

    @property
    def is_set(self) -> bool:
        """Whether there is a value: null in a file says that there is none."""
        return self.raw is not None

    @property
    def is_secret_file(self) -> bool:
        """Whether the value lies in a file of its own, as only secrets do."""
        return self.origin.layer is Layer.SECRET_FILE or isinstance(self.raw, FileReference)

    def shown(self, *, secret: bool) -> str:
        """Return the value as a person may see it; a secret is a mask, whatever its length."""
        if isinstance(self.raw, Unusable):  # why it cannot be read is no part of it
            return show(self.raw)
        if secret or self.is_secret_file or names_a_secret(self.key):
            return MASK
        return show(self.value)

    def __repr__(self) -> str:
        return f"<Setting {self.key} at {self.origin}>"


def show(value: object, depth: int = 0) -> str:
    """Return any value as text without the secrets inside it."""
    if isinstance(value, Unusable):
        return f"({value.reason})"
    if isinstance(value, str):
        return repr(without_passwords(value)) if len(value) <= MAX_SHOWN_TEXT else "(a long text)"
    if getattr(value, "__secret__", False):
        return MASK
    if isinstance(value, dict | list | tuple) and depth > MAX_SHOWN_DEPTH:
        return "..."
    if isinstance(value, dict):
        shown = (
            f"{key}: {MASK if names_a_secret(str(key)) else show(item, depth + 1)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(shown) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item, depth + 1) for item in value) + "]"
    return str(value)


def is_secret_value(value: object) -> bool:
    """Tell whether a value says of itself that it is secret."""
    return isinstance(value, Secret) or bool(getattr(value, "__secret__", False))
