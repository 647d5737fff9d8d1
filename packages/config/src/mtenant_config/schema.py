"""What a settings class asks for, read from its annotations before any value is looked at."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from mtenant_config.grammar import (
    ByteSize,
    Refused,
    format_duration,
    parse_bool,
    parse_bytes,
    parse_duration,
    parse_float,
    parse_int,
    parse_secret,
    parse_str,
    split_list,
)
from mtenant_config.names import FILE_SUFFIX, fold, key_of, near, variable
from mtenant_config.secret import Secret, names_a_secret

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Env:
    """Names the environment variable of a field, which is then read without any prefix.

    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     url: Annotated[str, Env("DATABASE_URL")]
    """

    name: str

    def __post_init__(self) -> None:
        if not _VARIABLE.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an environment variable")


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a field, both inclusive; None leaves a side open.

    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     port: Annotated[int, Range(1, 65535)] = 8080
    ...     timeout: Annotated[timedelta, Range(timedelta(0))] = timedelta(seconds=30)
    """

    minimum: Any = None
    maximum: Any = None

    def __str__(self) -> str:
        if self.maximum is None:
            return f"at least {_written(self.minimum)}"
        if self.minimum is None:
            return f"at most {_written(self.maximum)}"
        return f"from {_written(self.minimum)} to {_written(self.maximum)}"

    def holds(self, value: Any) -> bool:
        """Tell whether a parsed value is inside."""
        return not (
            (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
        )


@dataclass(frozen=True, slots=True)
class FieldType:
    """A type that a field may have: what it is called, how it is parsed, whether it is secret."""

    expected: str
    parse: Callable[[object], object]
    secret: bool = False
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that holds one value.

    Attributes:
        name: The name of the field.
        key: Its folded key, relative to the settings class.
        type: What it holds.
        env: The variable that its `Env` names.
        secret: Whether its type or its name says that it is secret.
        default: Makes its default: that of the object which stands as the default of its section,
            else its own.
        indirect: Whether `X_FILE` names a file that holds it. Not where another field owns that
            variable, as `cert_file` beside `cert` does.
    """

    name: str
    key: str
    type: FieldType
    env: str | None
    secret: bool
    default: Callable[[], object] | None
    indirect: bool = True

    @property
    def required(self) -> bool:
        """Whether the class has no default for it."""
        return self.default is None


@dataclass(frozen=True, slots=True)
class Section:
    """A settings class: its own fields and the sections inside it."""

    cls: type
    name: str
    key: str
    leaves: tuple[Leaf, ...]
    sections: tuple[Section, ...]
    default: Callable[[], object] | None

    def all_leaves(self) -> Iterator[Leaf]:
        """Yield the fields of this section and of those inside it."""
        yield from self.leaves
        for section in self.sections:
            yield from section.all_leaves()

    def all_sections(self) -> Iterator[Section]:
        """Yield the sections inside this one."""
        for section in self.sections:
            yield section
            yield from section.all_sections()


def schema_of(cls: type[object]) -> Section:
    """Return the schema of a frozen dataclass.

    Raises:
        TypeError: The class is not a frozen dataclass, or a field has a type that cannot be read
            from text.
    """
    return _remembered(cast("Hashable", cls))


@lru_cache(maxsize=256)
def _remembered(cls: Any) -> Section:
    schema = _section(cls, name="", key="", default=None, parents=())
    keys = frozenset(leaf.key for leaf in schema.all_leaves())
    names = frozenset(leaf.env for leaf in schema.all_leaves() if leaf.env)
    return _with_owners(schema, keys, names)


def _with_owners(section: Section, keys: frozenset[str], names: frozenset[str]) -> Section:
    """Return the section with `indirect` set, given every key and variable of the schema."""

    def owned(leaf: Leaf) -> bool:
        by_name = leaf.env is not None and leaf.env + FILE_SUFFIX in names
        return by_name or f"{leaf.key}_file" in keys

    return dataclasses.replace(
        section,
        leaves=tuple(
            dataclasses.replace(leaf, indirect=not owned(leaf)) for leaf in section.leaves
        ),
        sections=tuple(_with_owners(inner, keys, names) for inner in section.sections),
    )


def _section(
    cls: Any,
    *,
    name: str,
    key: str,
    default: Callable[[], object] | None,
    parents: tuple[type, ...],
) -> Section:
    params = getattr(cls, "__dataclass_params__", None)
    if not isinstance(cls, type) or params is None:
        raise TypeError(f"{cls!r} is not a dataclass")
    if not params.frozen:
        raise TypeError(f"{cls.__qualname__} must be a frozen dataclass: settings do not change")
    if cls in parents:
        raise TypeError(f"{cls.__qualname__} contains itself")
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as exc:
        raise TypeError(
            f"{cls.__qualname__} has an annotation that cannot be resolved: {exc}; "
            "define the names it uses at the top level of its module"
        ) from None
    leaves: list[Leaf] = []
    sections: list[Section] = []
    taken: dict[str, str] = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        word = fold(field.name)
        if word in taken:
            raise TypeError(f"{cls.__qualname__}.{field.name} and .{taken[word]} are one key")
        taken[word] = field.name
        path = f"{key}.{word}" if key else word
        if key_of(variable(path, "X"), "X") != path:
            raise TypeError(f"{cls.__qualname__}.{field.name}: no variable can mean this name")
        where = f"{cls.__qualname__}.{field.name}"
        initial = _default(field, default)
        nested = _nested(hints[field.name])
        if nested is not None:
            sections.append(
                _section(
                    nested,
                    name=field.name,
                    key=path,
                    default=initial,
                    parents=(*parents, cls),
                )
            )
        else:
            leaves.append(_leaf(field.name, path, hints[field.name], initial, where))
    return Section(cls, name, key, tuple(leaves), tuple(sections), default)


def _default(
    field: dataclasses.Field[Any], outer: Callable[[], object] | None
) -> Callable[[], object] | None:
    """Return what makes a field's default, in a section whose own default `outer` makes."""
    if outer is not None and outer() is not None:
        return lambda: getattr(outer(), field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    if field.default is not dataclasses.MISSING:
        value = field.default
        return lambda: value
    return None


def _nested(hint: Any) -> type | None:
    for candidate in (_without_none(hint)[0], hint):
        if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
            return candidate
    return None


def _leaf(name: str, key: str, hint: Any, default: Callable[[], object] | None, where: str) -> Leaf:
    field_type = _type(hint, where)
    env = next((extra.name for extra in _extras(hint) if isinstance(extra, Env)), None)
    return Leaf(
        name=name,
        key=key,
        type=field_type,
        env=env,
        secret=field_type.secret or names_a_secret(key) or names_a_secret(env or ""),
        default=default,
    )


def _extras(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Split `X | None` into X and whether None was there."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        others = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(others) == 1 and len(get_args(hint)) == 2:
            return others[0], True
    return hint, False


_PLAIN: dict[Any, FieldType] = {
    bool: FieldType("a bool", parse_bool),
    int: FieldType("an int", parse_int),
    float: FieldType("a number", parse_float),
    str: FieldType("a string", parse_str),
    timedelta: FieldType("a duration such as '30s' or '5m'", parse_duration),
    ByteSize: FieldType("a size such as '512MiB'", parse_bytes),
    Secret: FieldType("a secret string", parse_secret, secret=True),
}


def _type(hint: Any, where: str) -> FieldType:
    inner, nullable = _without_none(hint)
    if nullable:
        return dataclasses.replace(_type(inner, where), nullable=True)
    if get_origin(hint) is Annotated:
        plain = _type(get_args(hint)[0], where)
        for extra in _extras(hint):
            if isinstance(extra, Range):
                plain = _ranged(plain, extra, get_args(hint)[0], where)
        return plain
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is Path:
        return FieldType("a path", _parse_path)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice({_written(m.value): m for m in hint}, {m.name.lower(): m for m in hint})
    if get_origin(hint) is Literal:
        return _choice({_written(value): value for value in get_args(hint)}, {})
    arguments = get_args(hint)
    if get_origin(hint) is list and len(arguments) == 1:
        return _many(list, _type(arguments[0], where))
    if get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _many(tuple, _type(arguments[0], where))
    raise TypeError(
        f"{where} has the type {hint!r}, which no text can be read as; use bool, int, float, str, "
        "timedelta, ByteSize, Secret, Path, an Enum, a Literal, list[X], tuple[X, ...], X | None "
        "or another frozen dataclass"
    )


# What a bound of each type may be.
_BOUNDS: dict[Any, type | tuple[type, ...]] = {
    int: int,
    float: (int, float),
    timedelta: timedelta,
    ByteSize: int,
}


def _ranged(plain: FieldType, bounds: Range, hint: Any, where: str) -> FieldType:
    allowed = _BOUNDS.get(_without_none(hint)[0], ())
    given = [bound for bound in (bounds.minimum, bounds.maximum) if bound is not None]
    if not given or not all(isinstance(bound, allowed) for bound in given):
        raise TypeError(f"{where} has a Range that does not fit its type: {bounds!r}")
    expected = f"{plain.expected} {bounds}"

    def parse(value: object) -> object:
        parsed = plain.parse(value)
        if not bounds.holds(parsed):
            raise Refused(expected)
        return parsed

    return dataclasses.replace(plain, expected=expected, parse=parse)


def _parse_path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise Refused("a path")


def _choice(by_text: dict[str, Any], by_name: dict[str, Any]) -> FieldType:
    expected = f"one of {', '.join(by_text)}"

    def parse(value: object) -> object:
        for choice in by_text.values():
            if value is choice and isinstance(choice, Enum):
                return choice
        text = _written(value) if isinstance(value, str | int) else ""
        if text in by_text:
            return by_text[text]
        if isinstance(value, str) and value.lower() in by_name:
            return by_name[value.lower()]
        meant = near(text, by_text)
        raise Refused(expected, f"did you mean '{meant}'?" if meant else None)

    return FieldType(expected, parse)


def _many(container: Callable[[list[object]], object], item: FieldType) -> FieldType:
    expected = f"a list, each item {item.expected}"

    def parse(value: object) -> object:
        items = []
        for position, raw in enumerate(split_list(value), start=1):
            try:
                items.append(item.parse(raw))
            except Refused as refused:
                hint = f"item {position} is not {item.expected}"
                raise Refused(
                    expected, f"{hint}; {refused.hint}" if refused.hint else hint
                ) from None
        return container(items)

    return FieldType(expected, parse, secret=item.secret)


def _written(value: object) -> str:
    """Return a value as it is written in a variable."""
    if isinstance(value, Enum):
        return _written(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return format_duration(value)
    return str(value)


def written(value: object) -> str:
    """Return a field's value as text that the field's type reads back; None is empty."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return _written_list([_written(item) for item in value])
    return _written(value)


def _written_list(items: list[str]) -> str:
    plain = items and all(item and item == item.strip() and "," not in item for item in items)
    text = ", ".join(items)
    return text if plain and not text.startswith("[") else json.dumps(items)
