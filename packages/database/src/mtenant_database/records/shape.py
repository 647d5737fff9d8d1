"""From a row to an entity, where a column's value is not yet the field's."""

from __future__ import annotations

from typing import Any

from mtenant_database.records.entity import TableSpec


def shape_of(entity: type[Any], spec: TableSpec) -> Any:
    """Return what `row=` takes for an entity: the class itself, or one whose values are made enums."""
    enums = [(column.name, column.enum) for column in spec.columns if column.enum is not None]
    if not enums:
        return entity

    class Shaped(entity):  # type: ignore[misc]  # a class that is only known here
        def __new__(cls, **columns: Any) -> Any:
            for name, kind in enums:
                if columns[name] is not None:
                    columns[name] = kind(columns[name])
            return entity(**columns)

    return Shaped
