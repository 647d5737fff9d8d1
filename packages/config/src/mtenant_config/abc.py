"""What a consumer of settings may ask for, whoever holds them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Final, Literal, Protocol, TypeVar

from mtenant_config.grammar import ByteSize
from mtenant_config.secret import Secret

D = TypeVar("D")
T = TypeVar("T")


class Missing(Enum):
    """The type of `MISSING`, which says that no default was given, since None may be one."""

    MISSING = "MISSING"


MISSING: Final[Literal[Missing.MISSING]] = Missing.MISSING


class ConfigReader(Protocol):
    """Reads settings by key; `Config` and `testing.MemoryConfig` are two.

    A key is a dotted path; case and `-`, `_` or camelCase do not matter. Where a key is not set,
    the default is returned as it is, and without a default `ConfigError` is raised. It is also
    raised for a value that the grammar of the method refuses; the grammars are in
    `mtenant_config.grammar`, and the same for text of every layer.
    """

    def get(self, key: str, default: object = MISSING) -> object:
        """Return the value as its layer holds it: text, or what a file gives a type."""
        ...

    def get_str(self, key: str, default: D | Missing = MISSING) -> str | D:
        """Return text, exactly as it is written; the empty text too."""
        ...

    def get_int(self, key: str, default: D | Missing = MISSING) -> int | D:
        """Return an int: `-?[0-9]+`. No `1_000`, no `0x10`, no `12.0`, no spaces."""
        ...

    def get_bool(self, key: str, default: D | Missing = MISSING) -> bool | D:
        """Return a bool: `true false 1 0 yes no on off` in any case. The empty text is none."""
        ...

    def get_float(self, key: str, default: D | Missing = MISSING) -> float | D:
        """Return a finite float: digits, with decimals and an exponent if wanted."""
        ...

    def get_duration(self, key: str, default: D | Missing = MISSING) -> timedelta | D:
        """Return a duration: `1h30m`, `250ms`. Units are needed: `5` is refused, `5s` is meant."""
        ...

    def get_bytes(self, key: str, default: D | Missing = MISSING) -> ByteSize | D:
        """Return a number of bytes: `512MiB`, `10MB`. Units are needed."""
        ...

    def get_list(self, key: str, default: D | Missing = MISSING) -> list[str] | D:
        """Return a new list of texts: `a, b`, or a JSON array, or an array of a file."""
        ...

    def get_secret(self, key: str, default: D | Missing = MISSING) -> Secret | D:
        """Return text that nothing shows unless it is revealed."""
        ...

    def is_set(self, key: str) -> bool:
        """Tell whether the key has a value; the empty text is one, null in a file is none."""
        ...

    def validate(self, required_keys: Iterable[str]) -> None:
        """Raise one `ConfigError` that lists every key that is not set or cannot be read."""
        ...

    def bind(self, cls: type[T], at: str | None = None) -> T:
        """Return a frozen dataclass, filled and checked."""
        ...
