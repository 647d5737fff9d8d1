"""Functions of the server, for reports; a closed set, and `function` for those of the program."""

from __future__ import annotations

from psycopg import sql

from mtenant_database.query.expression import Call, Expression
from mtenant_database.query.fragment import Fragment
from mtenant_database.query.render import quote


def count(expression: Expression | None = None) -> Expression:
    """How many rows, or how many of them have a value."""
    return Fragment(sql.SQL("count(*)"), ()) if expression is None else Call("count", (expression,))


def total(expression: Expression) -> Expression:
    """The sum; NULL of no rows."""
    return Call("sum", (expression,))


def average(expression: Expression) -> Expression:
    """The average; NULL of no rows."""
    return Call("avg", (expression,))


def least(expression: Expression) -> Expression:
    """The smallest value of the rows."""
    return Call("min", (expression,))


def greatest(expression: Expression) -> Expression:
    """The greatest value of the rows."""
    return Call("max", (expression,))


def coalesce(expression: Expression, *others: object) -> Expression:
    """The first value that is not NULL."""
    return Call("coalesce", (expression, *others))


def lower(expression: Expression) -> Expression:
    """The text in lower case."""
    return Call("lower", (expression,))


def function(name: str, *arguments: object) -> Expression:
    """Call a function by its name, which is quoted; arguments that are no expressions are parameters."""
    return Call(quote(name), arguments)
