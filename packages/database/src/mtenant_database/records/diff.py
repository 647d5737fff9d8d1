"""What entities say and a schema has not: as a migration's file, never as a change by itself."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mtenant_database.migrate import create_migration
from mtenant_database.records.catalog import LiveTable, read_catalog
from mtenant_database.records.ddl import (
    create_index,
    create_table,
    definition,
    index_name,
    name_of,
    statements,
)
from mtenant_database.records.entity import TableSpec, describe

if TYPE_CHECKING:
    from mtenant_database.tenant import Handle


_WORD: Final = re.compile(r"\w+")


@dataclass
class Difference:
    """What is to be done to a schema.

    Attributes:
        up: Statements that add what is missing: tables, columns, indexes.
        down: Statements that take it away again, in reverse order.
        left: What differs otherwise, in words: it needs a hand.
    """

    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.up or self.left)

    def __str__(self) -> str:
        return "\n".join([*self.up, *(f"-- left to you: {one}" for one in self.left)])

    def write(self, folder: str | os.PathLike[str], description: str) -> tuple[Path, Path] | None:
        """Write the next migration of a folder and its rollback; None if there is nothing to add.

        Args:
            folder: As for `mtenant-db migrate create`.
            description: Such as `add contact phone`.

        Raises:
            MigrationFileInvalid: The description has no letter or digit, or the folder is wrong.
        """
        if not self.up:
            return None
        paths = create_migration(folder, description)
        notes = "".join(f"-- left to you: {one}\n" for one in self.left)
        for path, said in zip(paths, (self.up, self.down), strict=True):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n".join([*said, notes if said is self.up else ""]))
        return paths

    def add(self, up: str, down: str) -> None:
        """Note something to add, and how it is taken away."""
        self.up.append(up)
        self.down.insert(0, down)


class _Undo(Exception):
    """Ends the transaction in which entities were looked at."""


async def diff(handle: Handle, entities: Sequence[type[Any]]) -> Difference:
    """Compare entities with the schema that a handle sees; nothing is changed.

    The tables are made in a scratch schema inside a transaction that is rolled back, so that both
    sides are PostgreSQL's own words and are compared exactly.

    Args:
        handle: Of a tenant, for a role that may create a schema.
        entities: What there should be. Tables of nobody here are not looked at.

    Raises:
        TypeError: One is no entity.
        AppError: The entities' statements fail.
    """
    specs = [describe(entity) for entity in entities]
    scratch = f"mtenant_diff_{secrets.token_hex(4)}"
    live: dict[str, LiveTable] = {}
    wanted: dict[str, LiveTable] = {}
    try:
        async with handle.transaction() as tx:
            schema = await tx.fetch_value("select current_schema()")
            live = await read_catalog(tx, schema)
            await tx.execute(cast("Any", f"create schema {scratch}"))
            path = f"set local search_path to {scratch}, {name_of(schema)}, pg_temp"
            await tx.execute(cast("Any", path))
            for statement in statements(entities):
                await tx.execute(cast("Any", statement))
            wanted = await read_catalog(tx, scratch)
            raise _Undo  # noqa: TRY301 -- the way to end a transaction without its changes
    except _Undo:
        pass
    return compare(specs, live, wanted)


def compare(
    specs: Sequence[TableSpec], live: dict[str, LiveTable], wanted: dict[str, LiveTable]
) -> Difference:
    """Return the difference between what is and what should be."""
    found = Difference()
    for spec in specs:
        table = live.get(spec.name)
        if table is None:
            found.add(create_table(spec), f"DROP TABLE {name_of(spec.name)};")
            for index in spec.indexes:
                found.up.append(create_index(spec, index))  # its table takes it along
        else:
            _compare_table(spec, table, wanted[spec.name], found)
    return found


def _compare_table(spec: TableSpec, live: LiveTable, wanted: LiveTable, found: Difference) -> None:
    name = name_of(spec.name)
    for column in spec.columns:
        if column.name in live.columns:
            continue
        if not column.nullable and column.col.default is None:
            found.left.append(
                f"{spec.name}.{column.name} is missing, and rows that are there would need a value:"
                " give it a default, or let it be NULL"
            )
            continue
        found.add(
            f"ALTER TABLE {name} ADD COLUMN {definition(column, spec)};",
            f"ALTER TABLE {name} DROP COLUMN {name_of(column.name)};",
        )
    for index in spec.indexes:
        missing = any(column not in live.columns for column in index.columns)
        reachable = not missing or all(
            one.nullable or one.col.default is not None
            for one in spec.columns
            if one.name in index.columns and one.name not in live.columns
        )
        if index_name(spec, index) not in live.indexes and reachable:
            found.add(create_index(spec, index), f"DROP INDEX {name_of(index_name(spec, index))};")
    found.left += _otherwise(spec, live, wanted)


def _otherwise(spec: TableSpec, live: LiveTable, wanted: LiveTable) -> Iterator[str]:
    for name, column in live.columns.items():
        at = f"{spec.name}.{name}"
        expected = wanted.columns.get(name)
        if expected is None:
            yield f"{at} is there, and the entity does not have it"
            continue
        if column.type != expected.type:
            yield f"{at} is {column.type}, the entity says {expected.type}"
        if column.nullable != expected.nullable:
            words = {True: "may be NULL", False: "may not be NULL"}
            yield f"{at} {words[column.nullable]}, the entity says it {words[expected.nullable]}"
        if column.default != expected.default:
            yield f"{at} has the default {column.default}, the entity says {expected.default}"
    for name, said in live.indexes.items():
        if name not in wanted.indexes:
            yield f"the index {name} is there, and the entity does not have it"
        elif said != wanted.indexes[name]:
            yield f"the index {name} is on {said}, the entity says {wanted.indexes[name]}"
    for one in sorted(live.constraints - wanted.constraints):
        yield f"{spec.name} has {one}, and the entity does not"
    new = {column.name for column in spec.columns if column.name not in live.columns}
    for one in sorted(wanted.constraints - live.constraints):
        if not new & {*_WORD.findall(one)}:  # those come with their column
            yield f"{spec.name} has not {one}, which the entity says"
