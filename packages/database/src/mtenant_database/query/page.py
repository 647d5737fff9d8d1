"""Keyset pages: what comes after a row, told by the values of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mtenant_database.query.expression import (
    All,
    AnyOf,
    Column,
    Comparison,
    Condition,
    Ordering,
    Value,
)
from mtenant_database.query.render import Text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of many.

    Attributes:
        items: The rows.
        next: What to pass as `after` for those that follow; None at the end.
    """

    items: list[T]
    next: tuple[Any, ...] | None


def check_keys(order: Sequence[Ordering]) -> None:
    """Refuse an order by which nothing can be said to follow.

    Raises:
        ValueError: There is none.
    """
    if not order:
        raise ValueError("there is no order: say order_by() first, its last key one that is unique")


class _Tuple(Condition):
    """Keys and values compared as rows, for which the server can use an index of all keys."""

    __slots__ = ("keys", "operator", "values")

    def __init__(self, keys: Sequence[Ordering], operator: str, values: Sequence[object]) -> None:
        self.keys, self.operator, self.values = keys, operator, values

    def render(self, text: Text) -> None:
        text.add("(")
        text.join(tuple(key.expression for key in self.keys), ", ")
        text.add(f") {self.operator} (")
        text.join(tuple(Value(value) for value in self.values), ", ")
        text.add(")")


def following(order: Sequence[Ordering], values: Sequence[object]) -> Condition:
    """Return the condition for rows that come after the one with these values.

    Raises:
        ValueError: The values do not fit the keys, or one is None.
    """
    if len(values) != len(order):
        raise ValueError(f"{len(values)} values for {len(order)} keys of the order")
    if any(value is None for value in values):
        raise ValueError("a key is NULL, which nothing comes after: order by coalesce(key, ...)")
    if len({key.descending for key in order}) == 1 and len(order) > 1:
        return _Tuple(order, "<" if order[0].descending else ">", values)
    # Mixed directions: (a > x) OR (a = x AND b < y) ...
    steps: list[Condition] = []
    for number, key in enumerate(order):
        equal = (Comparison(order[n].expression, "=", values[n]) for n in range(number))
        further = Comparison(key.expression, "<" if key.descending else ">", values[number])
        steps.append(All((*equal, further)) if number else further)
    return AnyOf(tuple(steps)) if len(steps) > 1 else steps[0]


def page_of(
    found: list[dict[str, Any]], size: int, order: Sequence[Ordering], row: type[Any] | None
) -> Page[Any]:
    """Return a page, given its rows and perhaps one more.

    Raises:
        ValueError: A key of the order is no column of the result.
    """
    items, more = found[:size], len(found) > size
    last = tuple(_key(items[-1], key) for key in order) if more else None
    made = items if row is None or row is dict else [row(**item) for item in items]
    return Page(made, last)


def _key(item: dict[str, Any], key: Ordering) -> Any:
    name = key.expression.name if isinstance(key.expression, Column) else None
    if name is None or name not in item:
        raise ValueError(
            f"the order's key {key.expression.text} is no column of the result: select it, too"
        )
    return item[name]
