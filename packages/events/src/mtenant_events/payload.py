"""Payloads: from an object to JSON values, and from JSON values to an object of a class."""

from __future__ import annotations

import base64
import sys
import types
import typing
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, cast, get_args, get_origin
from uuid import UUID

Build = Callable[[Any], Any]


class Unfit(ValueError):
    """JSON values are not what a class asks for. Its text has names and types, and no values."""


def plain(value: Any) -> Any:
    """Return what JSON has for an object that it does not know; an encoder's `default`.

    Dataclasses, msgspec Structs and pydantic models become objects; Decimal, UUID, dates and bytes
    (in base64) become text, sets become arrays.

    Raises:
        TypeError: It knows no such thing either.
    """
    return _writer(cast("Hashable", type(value)))(value)


@cache
def _writer(cls: Any) -> Build:
    """Return what writes the objects of a class."""
    if is_dataclass(cls):
        names = tuple(field.name for field in fields(cls))
        return lambda value: {name: getattr(value, name) for name in names}
    if hasattr(cls, "__struct_fields__"):
        to_builtins: Build = sys.modules["msgspec"].to_builtins
        return to_builtins
    if hasattr(cls, "model_dump"):
        return lambda value: value.model_dump(mode="json", by_alias=True)
    for kind, write in _WRITERS.items():
        if issubclass(cls, kind):
            return write
    raise TypeError(f"{cls.__qualname__} cannot be written as JSON")


def _write_datetime(value: datetime) -> str:
    if value.utcoffset() == timedelta(0):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat()


def builder(cls: Any) -> Build:
    """Return what makes an object of a payload class from JSON values, and raises `Unfit`.

    Members that the class does not know are left out: who reads must not fail when who writes has
    learned something new. Otherwise nothing is folded: a text is no number.

    Raises:
        TypeError: It is no dataclass, msgspec Struct or pydantic model, or a dataclass with a field
            whose type no JSON value can be read as.
    """
    if hasattr(cls, "__struct_fields__"):
        return _struct_builder(cls)
    if hasattr(cls, "model_validate"):
        return _model_builder(cls)
    if is_dataclass(cls):
        return _build(cast("Hashable", cls))
    raise TypeError(f"{cls!r} is no dataclass, msgspec Struct or pydantic model")


def _struct_builder(cls: Any) -> Build:
    msgspec = sys.modules["msgspec"]

    def build(value: Any) -> Any:
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as exc:
            # Its text quotes a value in few cases; what it says of the place is behind the last " - ".
            _, _, place = str(exc).rpartition(" - ")
            raise Unfit(
                f"{cls.__qualname__}: {place[:200] if place[:3] == 'at ' else ''}"
            ) from None

    return build


def _model_builder(cls: Any) -> Build:
    def build(value: Any) -> Any:
        try:
            return cls.model_validate(value)
        except ValueError as exc:
            errors = exc.errors() if hasattr(exc, "errors") else []
            places = [f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in errors[:5]]
            raise Unfit(f"{cls.__qualname__}: {'; '.join(places)}"[:500]) from None

    return build


@cache
def _build(hint: Any) -> Build:
    """Return what makes a value of a type."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _build(arguments[0])
    if isinstance(hint, NewType):
        return _build(hint.__supertype__)
    if isinstance(hint, TypeVar):
        return _build(hint.__bound__ or Any)
    if origin in (typing.Union, types.UnionType):
        return _union([_build(argument) for argument in arguments])
    if origin is Literal:
        return _literal(arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if any(hasattr(hint, name) for name in ("__struct_fields__", "model_validate")):
        return builder(hint)
    if is_dataclass(origin or hint):
        return _dataclass(origin or hint)
    return _build_container(hint, origin or hint, arguments)


def _build_container(hint: Any, kind: Any, arguments: tuple[Any, ...]) -> Build:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return _tuple([_build(argument) for argument in arguments])
    if kind in _ARRAYS:
        return _array(_ARRAYS[kind], _build(arguments[0] if arguments else Any))
    if kind in (dict, Mapping):
        if arguments and arguments[0] is not str:
            raise TypeError(f"{hint!r}: the keys of a JSON object are text")
        return _object(_build(arguments[1] if arguments else Any))
    raise TypeError(f"no JSON value can be read as {hint!r}")


def _of(*kinds: type) -> Build:
    expected = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in kinds)

    def build(value: Any) -> Any:
        # Not isinstance: True is an int to Python, and none to JSON.
        if type(value) not in kinds:
            raise Unfit(f"expected {expected}, got {type(value).__name__}")
        return value

    return build


def _text(kind: str, parse: Callable[[str], Any]) -> Build:
    def build(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return parse(value)
            except (ValueError, InvalidOperation):
                pass
        raise Unfit(f"expected {kind}") from None

    return build


def _float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise Unfit("expected float") from None


def _decimal(value: Any) -> Decimal:
    # As text is how it is written here; a number is what others write.
    if type(value) in (str, int, float):
        try:
            return Decimal(str(value))
        except (InvalidOperation, ValueError):
            pass
    raise Unfit("expected a decimal number as text") from None


def _union(options: list[Build]) -> Build:
    def build(value: Any) -> Any:
        problems = []
        for option in options:
            try:
                return option(value)
            except Unfit as exc:
                problems.append(str(exc))
        raise Unfit(", nor ".join(problems)[:500])

    return build


def _literal(allowed: tuple[Any, ...]) -> Build:
    def build(value: Any) -> Any:
        for one in allowed:
            if type(one) is type(value) and one == value:
                return one
        raise Unfit(f"expected one of {', '.join(map(repr, allowed))}")

    return build


def _enum(cls: type[Enum]) -> Build:
    def build(value: Any) -> Any:
        for member in cls:
            if type(value) in (str, int, float) and member.value == value:
                return member
        raise Unfit(f"expected a {cls.__qualname__}")

    return build


def _dataclass(cls: Any) -> Build:
    known: dict[str, tuple[Build, bool]] = {}

    def compile_fields() -> None:
        hints = typing.get_type_hints(cls, include_extras=True)
        for field in fields(cls):
            if field.init:
                has_default = field.default is not MISSING or field.default_factory is not MISSING
                known[field.name] = (_build(hints[field.name]), has_default)

    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unfit(f"expected an object, got {type(value).__name__}")
        arguments = {}
        for name, (build_field, has_default) in known.items():
            if name in value:
                try:
                    arguments[name] = build_field(value[name])
                except Unfit as exc:
                    raise Unfit(f"{name}: {exc}") from None
            elif not has_default:
                raise Unfit(f"{name}: missing")
        try:
            return cls(**arguments)
        except Exception as exc:
            # What a class says of a value may quote it.
            raise Unfit(f"{cls.__qualname__} refused it with {type(exc).__name__}") from None

    compile_fields()
    return build


def _array(make: Callable[[list[Any]], Any], item: Build) -> Build:
    def build(value: Any) -> Any:
        if not isinstance(value, list):
            raise Unfit(f"expected an array, got {type(value).__name__}")
        return make([item(one) for one in value])

    return build


def _tuple(items: list[Build]) -> Build:
    def build(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(items):
            raise Unfit(f"expected an array of {len(items)}")
        return tuple(item(one) for item, one in zip(items, value, strict=True))

    return build


def _object(item: Build) -> Build:
    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unfit(f"expected an object, got {type(value).__name__}")
        return {key: item(one) for key, one in value.items()}

    return build


_SCALARS: Final[dict[Any, Build]] = {
    Any: lambda value: value,
    object: lambda value: value,
    str: _of(str),
    int: _of(int),
    bool: _of(bool),
    float: _float,
    type(None): _of(type(None)),
    None: _of(type(None)),
    Decimal: _decimal,
    datetime: _text("a date with a time", datetime.fromisoformat),
    date: _text("a date", date.fromisoformat),
    time: _text("a time", time.fromisoformat),
    UUID: _text("a UUID", UUID),
    bytes: _text("base64", lambda text: base64.b64decode(text, validate=True)),
}
_ARRAYS: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    Sequence: tuple,
    Collection: tuple,
    tuple: tuple,
    set: set,
    Set: frozenset,
    frozenset: frozenset,
}
_WRITERS: Final[dict[type[Any], Build]] = {
    datetime: _write_datetime,
    date: date.isoformat,
    time: time.isoformat,
    Decimal: str,
    UUID: str,
    Enum: lambda value: value.value,
    Mapping: dict,
    Set: lambda value: sorted(value, key=repr),
    bytes: lambda value: base64.b64encode(value).decode(),
    bytearray: lambda value: base64.b64encode(value).decode(),
}
