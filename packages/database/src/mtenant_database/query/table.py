"""A table by name, and its columns."""

from __future__ import annotations

from mtenant_database.query.expression import Column
from mtenant_database.query.render import Text, quote


class Table:
    """A table or view; `contacts["name"]` is a column of it.

    A tenant's table is named without its schema: the scope says which it is.

    Args:
        name: Its name.
        schema: Its schema, for what belongs to no tenant: `shared`.
        alias: What it is called in the statement, to join a table with itself.
    """

    __slots__ = ("_reference", "_source", "name")

    def __init__(self, name: str, *, schema: str | None = None, alias: str | None = None) -> None:
        self.name = name
        full = f"{quote(schema)}.{quote(name)}" if schema is not None else quote(name)
        self._source = full if alias is None else f"{full} AS {quote(alias)}"
        self._reference = quote(alias) if alias is not None else full

    def __getitem__(self, column: str) -> Column:
        return Column(self._reference, column)

    def __repr__(self) -> str:
        return f"<Table {self._source}>"

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.parts.append(self._source)


def table(name: str, *, schema: str | None = None, alias: str | None = None) -> Table:
    """Return a table; see `Table`."""
    return Table(name, schema=schema, alias=alias)
