"""INSERT, UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from mtenant_database.query.expression import Condition, Expression, Labelled, operand
from mtenant_database.query.render import Text, quote
from mtenant_database.query.select import clause, present
from mtenant_database.query.statement import Change
from mtenant_database.query.table import Table


class Insert(Change):
    """New rows; see `insert`."""

    __slots__ = ("_conflict", "_names", "_returning", "_rows", "_table", "_updated")

    def __init__(
        self, table: Table, names: tuple[str, ...], rows: tuple[tuple[object, ...], ...]
    ) -> None:
        self._table, self._names, self._rows = table, names, rows
        self._conflict: tuple[str, ...] | None = None
        self._updated: tuple[str, ...] | None = None
        self._returning: tuple[Expression | Labelled, ...] = ()

    def on_conflict_do_nothing(self, *columns: str) -> Self:
        """Leave a row out that is there; without columns, whichever unique index says so."""
        return self._with(_conflict=columns, _updated=None)

    def on_conflict_update(self, *columns: str, set_: Iterable[str]) -> Self:
        """Overwrite the columns `set_` of the row that has the same values in `columns`."""
        updated = tuple(set_)
        if not columns or not updated:
            raise ValueError("say which columns conflict, and set_= which of them are overwritten")
        if unknown := [name for name in updated if name not in self._names]:
            raise ValueError(f"set_ has {', '.join(unknown)}, which the rows do not have")
        return self._with(_conflict=columns, _updated=updated)

    def returning(self, *columns: Expression | Labelled) -> Self:
        """Return columns of the rows that were inserted or updated; nothing means all."""
        return self._with(_returning=columns or (_STAR,))

    def render(self, text: Text) -> None:
        """Add itself to a text."""
        text.add("INSERT INTO ")
        self._table.render(text)
        if self._names:
            text.add(f" ({', '.join(quote(name) for name in self._names)}) VALUES ")
        else:
            text.add(" DEFAULT VALUES")
        for number, row in enumerate(self._rows if self._names else ()):
            text.add(", (" if number else "(")
            for place, value in enumerate(row):
                if place:
                    text.add(", ")
                operand(value, text)
            text.add(")")
        if self._conflict is not None:
            self._render_conflict(self._conflict, text)
        clause_returning(self._returning, text)

    def _render_conflict(self, columns: tuple[str, ...], text: Text) -> None:
        text.add(" ON CONFLICT")
        if columns:
            text.add(f" ({', '.join(quote(name) for name in columns)})")
        if self._updated is None:
            text.add(" DO NOTHING")
            return
        said = (f"{quote(name)} = EXCLUDED.{quote(name)}" for name in self._updated)
        text.add(f" DO UPDATE SET {', '.join(said)}")


class _Filtered(Change):
    """A change of the rows for which conditions hold; of all of them only if that is said."""

    __slots__ = ("_all", "_conditions", "_returning", "_table")

    _all: bool
    _conditions: tuple[Condition, ...]
    _returning: tuple[Expression | Labelled, ...]
    _table: Table

    def where(self, *conditions: Condition | None) -> Self:
        """Change rows for which all conditions hold; None is left out."""
        return self._with(_conditions=(*self._conditions, *present(conditions)))

    def all_rows(self) -> Self:
        """Change every row: what no condition means elsewhere has to be said here."""
        return self._with(_all=True)

    def returning(self, *columns: Expression | Labelled) -> Self:
        """Return columns of the rows that were changed; nothing means all."""
        return self._with(_returning=columns or (_STAR,))

    def _render_end(self, text: Text) -> None:
        if not self._conditions and not self._all:
            raise ValueError("no condition: say where(...), or all_rows() if every row is meant")
        clause(" WHERE ", self._conditions, " AND ", text)
        clause_returning(self._returning, text)


class Update(_Filtered):
    """Changed rows; see `update`."""

    __slots__ = ("_values",)

    def __init__(self, table: Table, values: Mapping[str, object]) -> None:
        self._table, self._values = table, dict(values)
        self._conditions, self._returning, self._all = (), (), False

    def render(self, text: Text) -> None:
        """Add itself to a text."""
        text.add("UPDATE ")
        self._table.render(text)
        text.add(" SET ")
        for number, (name, value) in enumerate(self._values.items()):
            text.add(f"{', ' if number else ''}{quote(name)} = ")
            operand(value, text)
        self._render_end(text)


class Delete(_Filtered):
    """Deleted rows; see `delete`."""

    __slots__ = ()

    def __init__(self, table: Table) -> None:
        self._table = table
        self._conditions, self._returning, self._all = (), (), False

    def render(self, text: Text) -> None:
        """Add itself to a text."""
        text.add("DELETE FROM ")
        self._table.render(text)
        self._render_end(text)


class _Star(Expression):
    __slots__ = ()

    def render(self, text: Text) -> None:
        text.add("*")


_STAR = _Star()


def insert(table: Table, rows: Mapping[str, object] | Iterable[Mapping[str, object]]) -> Insert:
    """Begin an INSERT of one row, or of many in one statement.

    Args:
        table: Where to.
        rows: Values by column. Each row has the same columns. A value may be an expression.

    Raises:
        ValueError: There is no row, or one has other columns than the first.
    """
    listed = [rows] if isinstance(rows, Mapping) else list(rows)
    if not listed:
        raise ValueError("there is no row to insert")
    names = tuple(listed[0])
    for number, row in enumerate(listed):
        if row.keys() != listed[0].keys():
            different = ", ".join(sorted(row.keys() ^ listed[0].keys()))
            raise ValueError(f"row {number} has not the columns of row 0: {different}")
    if not names and len(listed) > 1:
        raise ValueError("rows without columns are inserted one at a time")
    return Insert(table, names, tuple(tuple(row[name] for name in names) for row in listed))


def update(table: Table, values: Mapping[str, object] | None = None, **named: object) -> Update:
    """Begin an UPDATE.

    ```python
    update(contacts, name="Ada", version=contacts["version"] + 1).where(contacts["id"] == 7)
    ```

    Args:
        table: Which.
        values: New values by column; a value may be an expression.
        **named: The same.

    Raises:
        ValueError: There is no value.
    """
    everything = {**(values or {}), **named}
    if not everything:
        raise ValueError("there is no value to set")
    return Update(table, everything)


def delete(table: Table) -> Delete:
    """Begin a DELETE."""
    return Delete(table)


def clause_returning(columns: tuple[Expression | Labelled, ...], text: Text) -> None:
    """Add RETURNING, or nothing."""
    if columns:
        text.add(" RETURNING ")
        text.join(columns, ", ")
