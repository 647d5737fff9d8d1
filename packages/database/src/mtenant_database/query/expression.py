"""What stands for a value in a statement: columns, parameters, functions, and conditions on them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

from mtenant_database.query.render import Renderable, Text, quote

if TYPE_CHECKING:
    from mtenant_database.query.select import Select

_NULL: Final = "NULL"
_ESCAPE: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class Expression:
    """Something with a value. Comparing it makes a `Condition`; what it is compared to is a parameter.

    >>> from mtenant_database.query import table
    >>> contacts = table("contacts")
    >>> (contacts["name"] == "'; drop table contacts").text
    '"contacts"."name" = %s'
    """

    __slots__ = ()

    __hash__ = object.__hash__

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """The text by itself, for looking at."""
        text = Text()
        self.render(text)
        return str(text)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.text}>"

    def eq(self, other: object) -> Condition:
        """Equal; `IS NULL` for None."""
        return _Null(self, "IS NULL") if other is None else Comparison(self, "=", other)

    def ne(self, other: object) -> Condition:
        """Not equal; `IS NOT NULL` for None."""
        return _Null(self, "IS NOT NULL") if other is None else Comparison(self, "<>", other)

    def lt(self, other: object) -> Condition:
        """Less than."""
        return Comparison(self, "<", other)

    def le(self, other: object) -> Condition:
        """Less than or equal."""
        return Comparison(self, "<=", other)

    def gt(self, other: object) -> Condition:
        """Greater than."""
        return Comparison(self, ">", other)

    def ge(self, other: object) -> Condition:
        """Greater than or equal."""
        return Comparison(self, ">=", other)

    def like(self, pattern: object) -> Condition:
        """Like a pattern, in which `%` and `_` stand for anything."""
        return Comparison(self, "LIKE", pattern)

    def ilike(self, pattern: object) -> Condition:
        """Like a pattern, without regard to case."""
        return Comparison(self, "ILIKE", pattern)

    def startswith(self, prefix: str) -> Condition:
        """Begins with a text; nothing in it is a pattern."""
        return Comparison(self, "LIKE", prefix.translate(_ESCAPE) + "%")

    def contains(self, part: str) -> Condition:
        """Has a text somewhere, without regard to case; nothing in it is a pattern."""
        return Comparison(self, "ILIKE", f"%{part.translate(_ESCAPE)}%")

    def between(self, low: object, high: object) -> Condition:
        """From `low` to `high`, both included."""
        return All((Comparison(self, ">=", low), Comparison(self, "<=", high)))

    def in_(self, values: Collection[object] | Select) -> Condition:
        """One of these values, or of the rows of a query. Of none at all is never true.

        Raises:
            TypeError: A text was given, whose letters are hardly meant.
        """
        if isinstance(values, str | bytes):
            raise TypeError(f"in_() takes a list of values, not {type(values).__name__}")
        if isinstance(values, Collection):
            # One parameter, so that the statement is the same for any number of values.
            return _Any(self, list(values))
        return _InQuery(self, values)

    def is_null(self) -> Condition:
        """Is NULL."""
        return _Null(self, "IS NULL")

    def is_not_null(self) -> Condition:
        """Is not NULL."""
        return _Null(self, "IS NOT NULL")

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # a condition, as SQLAlchemy has it
        return self.eq(other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # as above
        return self.ne(other)

    def __lt__(self, other: object) -> Condition:
        return self.lt(other)

    def __le__(self, other: object) -> Condition:
        return self.le(other)

    def __gt__(self, other: object) -> Condition:
        return self.gt(other)

    def __ge__(self, other: object) -> Condition:
        return self.ge(other)

    def __add__(self, other: object) -> Expression:
        return Arithmetic(self, "+", other)

    def __sub__(self, other: object) -> Expression:
        return Arithmetic(self, "-", other)

    def __mul__(self, other: object) -> Expression:
        return Arithmetic(self, "*", other)

    def asc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """Order by it, the smallest first."""
        return Ordering(self, descending=False, nulls=nulls)

    def desc(self, *, nulls: Literal["first", "last"] | None = None) -> Ordering:
        """Order by it, the greatest first."""
        return Ordering(self, descending=True, nulls=nulls)

    def as_(self, name: str) -> Labelled:
        """Name it in the result."""
        return Labelled(self, name)

    def __bool__(self) -> NoReturn:
        raise TypeError("this is SQL, not a truth value: write & for and, | for or, ~ for not")


class Column(Expression):
    """A column of a table."""

    __slots__ = ("_text", "name")

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self._text = f"{source}.{quote(name)}" if source else quote(name)

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.parts.append(self._text)


class Labelled:
    """An expression with the name that its column has in the result."""

    __slots__ = ("expression", "name")

    def __init__(self, expression: Expression, name: str) -> None:
        self.expression = expression
        self.name = name

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        self.expression.render(text)
        text.add(f" AS {quote(self.name)}")


class Value(Expression):
    """A parameter by itself, for a select list or an argument."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.value(self.value)


class Arithmetic(Expression):
    """Two values and `+`, `-` or `*`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, left: Expression, operator: Literal["+", "-", "*"], right: object) -> None:
        self.left, self.operator, self.right = left, operator, right

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.add("(")
        self.left.render(text)
        text.add(f" {self.operator} ")
        operand(self.right, text)
        text.add(")")


class Call(Expression):
    """A call of a function."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        self.name, self.arguments = name, arguments

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.add(f"{self.name}(")
        for number, argument in enumerate(self.arguments):
            if number:
                text.add(", ")
            operand(argument, text)
        text.add(")")


class Condition(Expression):
    """Something that is true or not: for WHERE, ON and HAVING; `&`, `|` and `~` combine them."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return All((self, _condition(other)))

    def __or__(self, other: Condition) -> Condition:
        return AnyOf((self, _condition(other)))

    def __invert__(self) -> Condition:
        return Not(self)


Operator: TypeAlias = Literal["=", "<>", "<", "<=", ">", ">=", "LIKE", "ILIKE"]


class Comparison(Condition):
    """Two values and an operator."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, left: Expression, operator: Operator, right: object) -> None:
        if isinstance(right, dict | set | frozenset):
            raise TypeError(f"{operator} takes one value, not a {type(right).__name__}")
        self.left, self.operator, self.right = left, operator, right

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        self.left.render(text)
        right = self.right
        if isinstance(right, Expression):
            text.parts.append(f" {self.operator} ")
            right.render(text)
        else:
            text.parts.append(f" {self.operator} %s")
            text.params.append(right)


class _Null(Condition):
    __slots__ = ("left", "operator")

    def __init__(self, left: Expression, operator: Literal["IS NULL", "IS NOT NULL"]) -> None:
        self.left, self.operator = left, operator

    def render(self, text: Text) -> None:
        self.left.render(text)
        text.add(f" {self.operator}")


class _Any(Condition):
    __slots__ = ("left", "values")

    def __init__(self, left: Expression, values: list[object]) -> None:
        self.left, self.values = left, values

    def render(self, text: Text) -> None:
        self.left.render(text)
        text.parts.append(" = ANY(%s)")
        text.params.append(self.values)


class _InQuery(Condition):
    __slots__ = ("left", "query")

    def __init__(self, left: Expression, query: Select) -> None:
        self.left, self.query = left, query

    def render(self, text: Text) -> None:
        self.left.render(text)
        text.add(" IN (")
        self.query.render(text)
        text.add(")")


class All(Condition):
    """All of some conditions."""

    __slots__ = ("conditions",)

    def __init__(self, conditions: tuple[Condition, ...]) -> None:
        self.conditions = conditions

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        _group(self.conditions, " AND ", "TRUE", text)


class AnyOf(Condition):
    """One of some conditions."""

    __slots__ = ("conditions",)

    def __init__(self, conditions: tuple[Condition, ...]) -> None:
        self.conditions = conditions

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        _group(self.conditions, " OR ", "FALSE", text)


class Not(Condition):
    """The opposite of a condition."""

    __slots__ = ("condition",)

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        text.add("NOT (")
        self.condition.render(text)
        text.add(")")


class Ordering:
    """A key to order by."""

    __slots__ = ("descending", "expression", "nulls")

    def __init__(
        self, expression: Expression, *, descending: bool, nulls: Literal["first", "last"] | None
    ) -> None:
        if nulls not in (None, "first", "last"):
            raise ValueError(f"nulls is {nulls!r}: write 'first' or 'last'")
        self.expression, self.descending, self.nulls = expression, descending, nulls

    def render(self, text: Text) -> None:
        """Add itself to a statement."""
        self.expression.render(text)
        text.add(" DESC" if self.descending else " ASC")
        if self.nulls is not None:
            text.add(f" NULLS {self.nulls.upper()}")


def operand(value: object, text: Text) -> None:
    """Add an expression as it is, and anything else as a parameter."""
    if isinstance(value, Expression):
        value.render(text)
    else:
        text.value(value)


def given(operator: Callable[[Any], Condition], value: object) -> Condition | None:
    """Return `operator(value)`, or None if there is no value: for filters that a caller may leave out.

    >>> from mtenant_database.query import table
    >>> given(table("contacts")["name"].eq, None) is None
    True
    """
    return None if value is None else operator(value)


def _condition(other: object) -> Condition:
    if not isinstance(other, Condition):
        raise TypeError(f"a condition is combined with a condition, not {type(other).__name__}")
    return other


def _group(conditions: tuple[Condition, ...], word: str, empty: str, text: Text) -> None:
    if not conditions:
        text.add(empty)
        return
    renderables: tuple[Renderable, ...] = conditions
    text.add("(")
    text.join(renderables, word)
    text.add(")")
