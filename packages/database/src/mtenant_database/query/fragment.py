"""SQL by hand, where the builder has no word for it: literal text of the program, values beside it."""

from __future__ import annotations

from psycopg import sql

from mtenant_database.query.expression import Condition, Value
from mtenant_database.query.render import Text
from mtenant_database.query.select import Select


class Fragment(Condition):
    """SQL that the program wrote by hand; see `raw`."""

    __slots__ = ("_params", "_text")

    def __init__(self, text: sql.SQL | sql.Composed, params: tuple[object, ...]) -> None:
        if not isinstance(text, sql.SQL | sql.Composed):
            raise TypeError(
                f"raw() takes psycopg.sql.SQL, not {type(text).__name__}: write"
                ' raw(sql.SQL("... %s"), value), and the value stays a value'
            )
        self._text = text.as_string()
        self._params = params
        wanted = self._text.replace("%%", "").count("%s")
        if wanted != len(params):
            raise ValueError(f"{self._text!r} has {wanted} placeholders, and {len(params)} values")

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.parts.append(self._text)
        text.params.extend(self._params)


class Exists(Condition):
    """Whether a query has a row."""

    __slots__ = ("query",)

    def __init__(self, query: Select) -> None:
        self.query = query

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.add("EXISTS (")
        self.query.render(text)
        text.add(")")


def raw(text: sql.SQL | sql.Composed, *values: object) -> Fragment:
    """Return SQL written by hand: an expression or a condition, in parentheses if it needs them.

    `sql.SQL` takes literal text only, which a type checker holds; `%s` stands for a value.

    >>> from psycopg import sql
    >>> raw(sql.SQL("tags @> %s"), ["new"]).text
    'tags @> %s'

    Raises:
        TypeError: The text is a `str`: a value would become SQL.
        ValueError: There are not as many values as placeholders.
    """
    return Fragment(text, values)


def exists(query: Select) -> Condition:
    """Whether a query has a row."""
    return Exists(query)


def value(value: object) -> Value:
    """Return a value as an expression: a parameter, for a select list."""
    return Value(value)
