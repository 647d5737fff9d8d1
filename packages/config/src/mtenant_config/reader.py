"""Typed reading by key, the same for every source."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

from mtenant_config.abc import MISSING, D, Missing
from mtenant_config.binding import bind, converted, missing, unusable
from mtenant_config.grammar import (
    ByteSize,
    parse_bool,
    parse_bytes,
    parse_duration,
    parse_float,
    parse_int,
    parse_list,
    parse_secret,
    parse_str,
)
from mtenant_config.names import fold
from mtenant_config.problem import ConfigError, Problem
from mtenant_config.schema import FieldType, Leaf, schema_of
from mtenant_config.secret import Secret
from mtenant_config.setting import Setting, Unusable
from mtenant_config.source import Source

T = TypeVar("T")
V = TypeVar("V")

_STR = FieldType("a string", parse_str)
_INT = FieldType("an int", parse_int)
_BOOL = FieldType("a bool", parse_bool)
_FLOAT = FieldType("a number", parse_float)
_DURATION = FieldType("a duration", parse_duration)
_BYTES = FieldType("a size", parse_bytes)
_LIST = FieldType("a list", parse_list)
_SECRET = FieldType("a secret string", parse_secret, secret=True)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a value comes from. Secrets are masked.

    Attributes:
        key: The folded key.
        value: The value that counts, as a person may see it; None when the key is not set.
        origin: Where it stands.
        shadowed: Value and origin of each lower layer that has the key too, the highest first.
    """

    key: str
    value: str | None
    origin: str | None
    shadowed: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.key} = {self.value}  ({self.origin})" if self.origin else f"{self.key}: not set"
        ]
        lines.extend(f"  hides {value}  ({origin})" for value, origin in self.shadowed)
        return "\n".join(lines)


class Reader:
    """Reads a source by key. Safe to share between threads: nothing is ever changed, only learned.

    Parsed values are remembered, so that a second `get_int` is one dictionary lookup.

    Attributes:
        source: The layers, for tools.
    """

    __slots__ = (
        "_bools", "_bytes", "_durations", "_fields", "_floats", "_ints", "_secret_keys", "_secrets",
        "_settings", "_strs", "source",
    )  # fmt: skip

    def __init__(self, source: Source) -> None:
        self.source = source
        self._settings: dict[str, Setting] = source.effective()
        # What bound classes and `get_secret` have told about keys; only ever added to.
        self._fields: dict[str, Leaf] = {}
        self._secret_keys: set[str] = set()
        self._strs: dict[str, str] = {}
        self._ints: dict[str, int] = {}
        self._bools: dict[str, bool] = {}
        self._floats: dict[str, float] = {}
        self._durations: dict[str, timedelta] = {}
        self._bytes: dict[str, ByteSize] = {}
        self._secrets: dict[str, Secret] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._settings)} settings>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a configuration is not pickled, it holds secrets; load it in each process")

    def get(self, key: str, default: object = MISSING) -> object:
        """Return the value as its layer holds it: text from the environment, typed from a file.

        Raises:
            ConfigError: The key is not set and there is no default, or its value is unreadable.
        """
        setting = self._find(key)
        if setting is None:
            return self._default(key, default, "a value")
        value = setting.value
        if isinstance(value, Unusable):
            raise ConfigError([unusable(setting, value)])
        # Lists and tables of a file: the caller may change its copy, not ours.
        return copy.deepcopy(value) if isinstance(value, list | dict) else value

    def get_str(self, key: str, default: D | Missing = MISSING) -> str | D:
        """Return the text of a key, exactly as it is written.

        Every text is accepted, the empty one too. A number or bool that a file gives a type is not:
        `1.10` has become 1.1 before anybody could ask.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._strs.get(key)
        return found if found is not None else self._read(key, default, _STR, self._strs)

    def get_int(self, key: str, default: D | Missing = MISSING) -> int | D:
        """Return the int of a key.

        Grammar: `-?[0-9]+` in ASCII digits, or an int of a file. No `1_000`, `0x10`, `12.0`, `+5`,
        and no spaces.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._ints.get(key)
        return found if found is not None else self._read(key, default, _INT, self._ints)

    def get_bool(self, key: str, default: D | Missing = MISSING) -> bool | D:
        """Return the bool of a key.

        Grammar: `true false 1 0 yes no on off` in any case, or a bool of a file. The empty text is
        refused, and so is an int of a file.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._bools.get(key)
        return found if found is not None else self._read(key, default, _BOOL, self._bools)

    def get_float(self, key: str, default: D | Missing = MISSING) -> float | D:
        """Return the float of a key, never `nan` or infinity.

        Grammar: `-?[0-9]+(.[0-9]+)?([eE][+-]?[0-9]+)?`, or an int or float of a file.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._floats.get(key)
        return found if found is not None else self._read(key, default, _FLOAT, self._floats)

    def get_duration(self, key: str, default: D | Missing = MISSING) -> timedelta | D:
        """Return the duration of a key.

        Grammar: numbers with the units `d h m s ms us`, from large to small, each at most once:
        `1h30m`, `1.5h`, `250ms`, `-5s`, `0`. Another number without a unit is refused.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._durations.get(key)
        return found if found is not None else self._read(key, default, _DURATION, self._durations)

    def get_bytes(self, key: str, default: D | Missing = MISSING) -> ByteSize | D:
        """Return the number of bytes of a key.

        Grammar: a number and `B kB KB MB GB TB PB` (powers of 1000) or `KiB MiB GiB TiB PiB` (powers
        of 1024), or `0`. Another number without a unit is refused.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        found = self._bytes.get(key)
        return found if found is not None else self._read(key, default, _BYTES, self._bytes)

    def get_list(self, key: str, default: D | Missing = MISSING) -> list[str] | D:
        """Return the texts of a key, as a new list.

        Grammar: `a, b` (spaces around commas do not count), a JSON array of strings, or an array of
        strings of a file. Empty items and the empty text are refused; the empty list is `[]`.

        Raises:
            ConfigError: The key is not set and there is no default, or the grammar refuses it.
        """
        memo: dict[str, list[str]] = {}
        return self._read(key, default, _LIST, memo)

    def get_secret(self, key: str, default: D | Missing = MISSING) -> Secret | D:
        """Return the text of a key as a `Secret`.

        Grammar: every text. From now on `explain` and `report` mask the key.

        Raises:
            ConfigError: The key is not set and there is no default, or it is no text. The error
                does not hold the value.
        """
        found = self._secrets.get(key)
        if found is not None:
            return found
        self._secret_keys.add(fold(key))
        return self._read(key, default, _SECRET, self._secrets)

    def is_set(self, key: str) -> bool:
        """Tell whether a key has a value. The empty text is one; null in a file is none."""
        return self._find(key) is not None

    def validate(self, required_keys: Iterable[str]) -> None:
        """Check that keys are set and readable.

        Raises:
            ConfigError: With a problem for every key that is not.
            TypeError: `required_keys` is a single string.
        """
        if isinstance(required_keys, str):
            raise TypeError("required_keys is a list of keys, not one string")
        problems = []
        for key in required_keys:
            setting = self._find(key)
            if setting is None:
                problems.append(self._missing(key, "a value"))
            elif isinstance(setting.value, Unusable):
                problems.append(unusable(setting, setting.value))
        if problems:
            raise ConfigError(problems)

    def bind(self, cls: type[T], at: str | None = None) -> T:
        """Return an instance of a frozen dataclass, filled from this source and checked.

        Each field is read from the key of its name, below `at`; a nested dataclass is a section.
        Types: bool, int, float, str, timedelta, ByteSize, Secret, Path, Enum (by value or name),
        Literal, `list[X]`, `tuple[X, ...]`, `X | None`, and `Annotated` of these with `Range` or
        `Env`. What a file says below `at` and no field reads is a problem, and so is a variable
        that differs from a field's only in case or underscores.

        Args:
            cls: A frozen dataclass.
            at: The section, such as `db`; the whole configuration by default.

        Raises:
            ConfigError: With every problem: key, expected type, origin and what was probably
                meant. A ValueError of a `__post_init__` is one of them.
            TypeError: The class is no frozen dataclass, or has a field of another type.
        """
        section = fold(at) if at else ""
        for leaf in schema_of(cls).all_leaves():
            key = f"{section}.{leaf.key}" if section else leaf.key
            self._fields[key] = leaf
            if leaf.secret:
                self._secret_keys.add(key)
        return bind(cls, self.source, section)

    def explain(self, key: str) -> Explanation:
        """Tell where a value comes from, and what it hides.

        Masked are keys that a bound class declares secret, that were read by `get_secret`, or whose
        name says so; what lies in a secret file; and the passwords inside URLs.
        """
        folded = fold(key)
        field = self._fields.get(folded)
        env, indirect = (field.env, field.indirect) if field else (None, True)
        secret = folded in self._secret_keys
        return explanation(self.source, folded, env, secret=secret, indirect=indirect)

    def report(self) -> list[dict[str, str]]:
        """Return key, value and origin of every setting, sorted by key, safe to log.

        What is masked is said at `explain`: call it after `bind`, which knows the secrets.
        """
        explained = (
            self.explain(key) for key in sorted(self._settings.keys() | self._fields.keys())
        )
        return [
            {"key": line.key, "value": line.value, "origin": line.origin}
            for line in explained
            if line.value is not None and line.origin is not None
        ]

    def _find(self, key: str) -> Setting | None:
        setting = self._settings.get(key) or self._settings.get(fold(key))
        return setting if setting is not None and setting.is_set else None

    def _read(self, key: str, default: D | Missing, kind: FieldType, memo: dict[str, V]) -> V | D:
        setting = self._find(key)
        if setting is None:
            return self._default(key, default, kind.expected)
        value, problem = converted(setting, kind, secret=setting.key in self._secret_keys)
        if problem is not None:
            raise ConfigError([problem])
        # Only the one spelling is remembered: there are endless others.
        if key == setting.key:
            memo[key] = cast("V", value)
        return cast("V", value)

    def _default(self, key: str, default: D | Missing, expected: str) -> D:
        if isinstance(default, Missing):
            raise ConfigError([self._missing(key, expected)])
        return default

    def _missing(self, key: str, expected: str) -> Problem:
        folded = fold(key)
        if any(other.startswith(f"{folded}.") for other in self._settings):
            return Problem(folded, "missing", "is a section, not a value; name a key inside it")
        return missing(self.source, folded, expected)


def explanation(
    source: Source, key: str, env: str | None, *, secret: bool, indirect: bool
) -> Explanation:
    """Return the explanation of a folded key; `indirect` is that of `Source.chain`."""
    found = source.chain(key, env, indirect=indirect)
    chain = [setting for setting in reversed(found) if setting.is_set]
    if not chain:
        return Explanation(key, None, None)
    shown = [(setting.shown(secret=secret), str(setting.origin)) for setting in chain]
    return Explanation(key, *shown[0], tuple(shown[1:]))
