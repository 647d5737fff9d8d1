"""The statements that make an entity's table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mtenant_database.query.render import quote
from mtenant_database.records.column import ColumnSpec
from mtenant_database.records.entity import Index, TableSpec, describe

_LONGEST: Final = 63
_ALIVE: Final = "deleted_at IS NULL"


def ddl(*entities: type[Any]) -> str:
    """Return the statements that make the tables and indexes of entities, as a migration has them.

    >>> from dataclasses import dataclass
    >>> from mtenant_database.records import Entity
    >>> @dataclass(kw_only=True)
    ... class Note(Entity):
    ...     __tablename__ = "notes"
    ...     body: str
    >>> print(ddl(Note).splitlines()[0])
    CREATE TABLE notes (

    Raises:
        TypeError: One is no entity.
    """
    return "\n".join(statements(entities)) + "\n"


def statements(entities: Iterable[type[Any]]) -> list[str]:
    """Return the same, one by one."""
    said: list[str] = []
    for entity in entities:
        spec = describe(entity)
        said += [create_table(spec), *(create_index(spec, one) for one in spec.indexes)]
    return said


def create_table(spec: TableSpec) -> str:
    """Return CREATE TABLE."""
    lines = [definition(column, spec) for column in spec.columns]
    lines += [f"CHECK ({check})" for check in spec.checks]
    body = ",\n".join(f"    {line}" for line in lines)
    return f"CREATE TABLE {name_of(spec.name)} (\n{body}\n);"


def definition(column: ColumnSpec, spec: TableSpec) -> str:
    """Return a column's line."""
    col = column.col
    said = [name_of(column.name), column.type_name]
    if col.primary_key:
        said.append("PRIMARY KEY")
    elif not column.nullable:
        said.append("NOT NULL")
    if col.default is not None:
        said.append(f"DEFAULT {col.default}")
    if col.references is not None:
        table, _, key = col.references.partition(".")
        said.append(f"REFERENCES {name_of(table)} ({name_of(key or 'id')})")
        if col.on_delete != "no action":
            said.append(f"ON DELETE {col.on_delete.upper()}")
    if column.choices:
        choices = ", ".join("'" + one.replace("'", "''") + "'" for one in column.choices)
        said.append(f"CHECK ({name_of(column.name)} IN ({choices}))")
    if col.check is not None:
        said.append(f"CHECK ({col.check})")
    return " ".join(said)


def create_index(spec: TableSpec, index: Index) -> str:
    """Return CREATE INDEX; where rows can be deleted, it has those that are not."""
    conditions = [_ALIVE] if spec.soft else []
    if index.where is not None:
        conditions.append(f"({index.where})" if conditions else index.where)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    columns = ", ".join(name_of(column) for column in index.columns)
    unique = "UNIQUE " if index.unique else ""
    name = name_of(index_name(spec, index))
    return f"CREATE {unique}INDEX {name} ON {name_of(spec.name)} ({columns}){where};"


def index_name(spec: TableSpec, index: Index) -> str:
    """Return an index's name: its table and columns, cut to what PostgreSQL keeps."""
    said: Sequence[str] = (spec.name, *index.columns, "key" if index.unique else "idx")
    name = "_".join(said)
    if index.where is not None or len(name.encode()) > _LONGEST:
        # Two indexes of the same columns for different rows have different names.
        mark = hashlib.blake2b(f"{name} {index.where}".encode(), digest_size=4).hexdigest()
        name = f"{name[: _LONGEST - 9]}_{mark}"
    return name


def name_of(name: str) -> str:
    """Return a name as a person would write it, quoted only if it has to be."""
    quoted = quote(name).replace("%%", "%")
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain and name not in _RESERVED else quoted


# Words that cannot be a column's name as they are (manual, appendix C, "reserved").
_RESERVED: Final = frozenset(
    [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "binary",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "group",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "lateral",
        "leading",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "natural",
        "not",
        "notnull",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "outer",
        "overlaps",
        "placing",
        "primary",
        "references",
        "returning",
        "right",
        "select",
        "session_user",
        "similar",
        "some",
        "symmetric",
        "system_user",
        "table",
        "tablesample",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
    ]
)
