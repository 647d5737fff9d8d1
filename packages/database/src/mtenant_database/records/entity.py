"""Entities: dataclasses that say what their table is, and mixins for what most tables have."""

from __future__ import annotations

import inspect
import secrets
import time
import typing
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, LiteralString
from uuid import UUID

from mtenant_database.query import Table, table
from mtenant_database.records.column import Col, ColumnSpec, column_of

_NOW: Final = Col(default="now()", nullable=False)


@dataclass(frozen=True)
class Index:
    """An index on several columns, or a part of the rows: an item of `__indexes__`.

    Attributes:
        columns: Their names.
        unique: Whether no two rows have the same.
        where: SQL that says for which rows; where rows can be deleted, for those that are not.
    """

    columns: tuple[LiteralString, ...]
    unique: bool = False
    where: LiteralString | None = None

    def __init__(
        self, *columns: LiteralString, unique: bool = False, where: LiteralString | None = None
    ) -> None:
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "unique", unique)
        object.__setattr__(self, "where", where)


@dataclass(frozen=True)
class TableSpec:
    """What an entity says of its table.

    Attributes:
        name: The table's name.
        columns: Its columns, in order.
        indexes: Its indexes, those of single columns too.
        checks: SQL that holds for every row.
    """

    name: str
    columns: tuple[ColumnSpec, ...]
    indexes: tuple[Index, ...]
    checks: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The table for the builder of queries."""
        return table(self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def key(self) -> str:
        """The name of the primary key."""
        return next(column.name for column in self.columns if column.col.primary_key)

    @property
    def soft(self) -> bool:
        """Whether a row that is deleted stays, with the time in `deleted_at`."""
        return "deleted_at" in self.names


def new_id() -> UUID:
    """Return an id of version 7 (RFC 9562, 5.7): a time, then randomness, so that an index grows at its end."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return UUID(int=value & ~(0x3 << 62) | 2 << 62)


@dataclass(kw_only=True)
class SoftDeletable:
    """Rows that are deleted stay, with the time; indexes and unique columns are for the others."""

    deleted_at: datetime | None = None


@dataclass(kw_only=True)
class Entity(SoftDeletable):
    """The base of most entities: an id, when it came, when it changed, when it was deleted.

    ```python
    @dataclass(kw_only=True)
    class Contact(Versioned, Auditable, Entity):
        __tablename__ = "contacts"
        name: str
        email: Annotated[str, Col(unique=True)]
        company_id: Annotated[UUID | None, Col(references="companies.id", index=True)] = None
    ```
    """

    id: Annotated[UUID, Col(primary_key=True, default="gen_random_uuid()")] = field(
        default_factory=new_id
    )
    created_at: Annotated[datetime | None, _NOW] = None
    updated_at: Annotated[datetime | None, _NOW] = None


@dataclass(kw_only=True)
class Auditable:
    """Who made it, changed it and deleted it; `Repository` fills them from `acting_as`."""

    created_by: str | None = None
    updated_by: str | None = None
    deleted_by: str | None = None


@dataclass(kw_only=True)
class Versioned:
    """A number that each change raises, so that nobody overwrites what he has not seen."""

    version: Annotated[int, Col(default="1")] = 1


@dataclass(kw_only=True)
class TenantScoped:
    """Whose a row is, for tables of several tenants in a shared schema; the scope says it."""

    tenant_id: Annotated[
        str | None, Col(default="current_setting('mtenant.tenant_id')", nullable=False, index=True)
    ] = None

    __tenant_scoped__: ClassVar[bool] = True


def describe(entity: type[Any]) -> TableSpec:
    """Return what an entity says of its table.

    Raises:
        TypeError: It is no dataclass, has no `__tablename__` or primary key, a field has no column's
            type, or an index names a column that is not there.
    """
    name = getattr(entity, "__tablename__", None)
    if not is_dataclass(entity) or not isinstance(name, str):
        raise TypeError(f"{entity.__name__} is no entity: a dataclass with __tablename__ = '...'")
    hints = typing.get_type_hints(entity, include_extras=True)
    columns = tuple(
        column_of(one.name, hints[one.name], entity.__name__) for one in _in_order(entity)
    )
    if sum(column.col.primary_key for column in columns) != 1:
        raise TypeError(f"{entity.__name__} has not one primary key: Col(primary_key=True)")
    single = tuple(
        Index(typing.cast("Any", column.name), unique=column.col.unique)
        for column in columns
        if column.col.unique or column.col.index
    )
    indexes = (*single, *getattr(entity, "__indexes__", ()))
    names = {column.name for column in columns}
    for index in indexes:
        if missing := [one for one in index.columns if one not in names] or not index.columns:
            raise TypeError(f"an index of {entity.__name__} names {missing}, which is no column")
    return TableSpec(name, columns, indexes, tuple(getattr(entity, "__checks__", ())))


def _in_order(entity: type[Any]) -> list[Any]:
    # The key first, then what the entity says itself, then what its mixins add.
    own = {name for kind in entity.__mro__ if kind.__module__ != __name__ for name in _own(kind)}
    return sorted(fields(entity), key=lambda one: (one.name != "id", one.name not in own))


def _own(kind: type[Any]) -> set[str]:
    return {*inspect.get_annotations(kind)}
