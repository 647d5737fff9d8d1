"""What a field of an entity is in its table."""

from __future__ import annotations

import enum
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

OnDelete = Literal["cascade", "restrict", "set null", "no action"]

_TYPES: Final[dict[object, str]] = {
    bool: "boolean",
    bytes: "bytea",
    date: "date",
    datetime: "timestamp with time zone",
    Decimal: "numeric",
    dict: "jsonb",
    float: "double precision",
    int: "bigint",
    str: "text",
    time: "time",
    timedelta: "interval",
    UUID: "uuid",
}


@dataclass(frozen=True, kw_only=True)
class Col:
    """How a field is stored, where its type does not say it all: `Annotated[str, Col(unique=True)]`.

    Attributes:
        type: The column's type; by default that of the field: `str` is text, `int` bigint,
            `list[str]` text[], an enum of texts text with a check ...
        default: SQL for rows that do not say it.
        nullable: Whether it may be NULL; by default whether the field may be None.
        primary_key: Whether it is the primary key.
        unique: Whether no two rows have the same; of those that are not deleted, where rows can be.
        index: Whether there is an index on it; likewise.
        check: SQL that holds for every row.
        references: `table.column` that it points to.
        on_delete: What becomes of the row when the other one is deleted.
    """

    type: LiteralString | None = None
    default: LiteralString | None = None
    nullable: bool | None = None
    primary_key: bool = False
    unique: bool = False
    index: bool = False
    check: LiteralString | None = None
    references: LiteralString | None = None
    on_delete: OnDelete = "no action"


@dataclass(frozen=True)
class ColumnSpec:
    """A column as the table has it: a field's name, and `Col` with nothing left open."""

    name: str
    type_name: str
    nullable: bool
    col: Col
    enum: type[enum.Enum] | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of an enum; nothing for any other type."""
        return () if self.enum is None else tuple(str(member.value) for member in self.enum)


def column_of(name: str, annotation: object, where: str) -> ColumnSpec:
    """Return the column of a field.

    Raises:
        TypeError: The type is not one that has a column's type; `Col(type=...)` says it then.
    """
    col = Col()
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *metadata = typing.get_args(annotation)
        col = next((one for one in metadata if isinstance(one, Col)), col)
    inner, optional = _without_none(annotation)
    choices: type[enum.Enum] | None = None
    if isinstance(inner, type) and issubclass(inner, enum.Enum):
        choices, inner = inner, str
    written = col.type or _type_of(inner)
    if written is None:
        raise TypeError(f"{where}.{name} is {annotation}: say Annotated[..., Col(type=...)]")
    nullable = optional if col.nullable is None else col.nullable
    return ColumnSpec(name, written, nullable and not col.primary_key, col, choices)


def _without_none(annotation: object) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [one for one in typing.get_args(annotation) if one is not type(None)]
        if len(kept) == 1:
            return kept[0], True
    return annotation, False


def _type_of(inner: object) -> str | None:
    origin = typing.get_origin(inner)
    if origin is list:
        item = _type_of(typing.get_args(inner)[0])
        return None if item is None else f"{item}[]"
    if origin is dict:
        return "jsonb"
    if origin is Literal:
        return "text" if all(isinstance(one, str) for one in typing.get_args(inner)) else None
    return _TYPES.get(inner)
