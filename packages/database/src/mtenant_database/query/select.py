"""SELECT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from mtenant_database.query.expression import Condition, Expression, Labelled, Ordering
from mtenant_database.query.page import Page, check_keys, following, page_of
from mtenant_database.query.render import Text
from mtenant_database.query.statement import Rows, Sender

if TYPE_CHECKING:
    from mtenant_database.query.table import Table

T = TypeVar("T")

_JOINS: Final = {
    "inner": " JOIN ",
    "left": " LEFT JOIN ",
    "right": " RIGHT JOIN ",
    "full": " FULL JOIN ",
}
_MOST: Final = 2**63 - 1  # LIMIT and OFFSET are bigint


class Select(Rows):
    """A query; see `select`."""

    __slots__ = (
        "_columns",
        "_conditions",
        "_distinct",
        "_group",
        "_having",
        "_joins",
        "_limit",
        "_lock",
        "_offset",
        "_order",
        "_table",
    )

    def __init__(self, columns: tuple[Expression | Labelled, ...], table: Table) -> None:
        self._columns = columns
        self._table = table
        self._distinct = False
        self._joins: tuple[tuple[str, Table, Condition], ...] = ()
        self._conditions: tuple[Condition, ...] = ()
        self._group: tuple[Expression, ...] = ()
        self._having: tuple[Condition, ...] = ()
        self._order: tuple[Ordering, ...] = ()
        self._limit: int | None = None
        self._offset: int | None = None
        self._lock = ""

    def join(
        self,
        table: Table,
        on: Condition,
        *,
        how: Literal["inner", "left", "right", "full"] = "inner",
    ) -> Self:
        """Join a table."""
        if how not in _JOINS:
            raise ValueError(f"how is {how!r}: write one of {', '.join(_JOINS)}")
        return self._with(_joins=(*self._joins, (_JOINS[how], table, _checked(on))))

    def where(self, *conditions: Condition | None) -> Self:
        """Keep rows for which all conditions hold, those of earlier calls too; None is left out."""
        return self._with(_conditions=(*self._conditions, *present(conditions)))

    def group_by(self, *keys: Expression) -> Self:
        """Group rows."""
        return self._with(_group=(*self._group, *keys))

    def having(self, *conditions: Condition | None) -> Self:
        """Keep groups for which all conditions hold."""
        return self._with(_having=(*self._having, *present(conditions)))

    def order_by(self, *keys: Expression | Ordering) -> Self:
        """Order by keys, after those of earlier calls."""
        orderings = tuple(key if isinstance(key, Ordering) else key.asc() for key in keys)
        return self._with(_order=(*self._order, *orderings))

    def limit(self, count: int | None) -> Self:
        """Return at most so many rows.

        Raises:
            TypeError: It is no whole number.
            ValueError: It is less than 0.
        """
        return self._with(_limit=_checked_count("limit", count))

    def offset(self, count: int | None) -> Self:
        """Leave out the first rows; the server makes them all the same, so prefer `after`."""
        return self._with(_offset=_checked_count("offset", count))

    def distinct(self) -> Self:
        """Return equal rows once."""
        return self._with(_distinct=True)

    def for_update(self, *, skip_locked: bool = False) -> Self:
        """Lock the rows until the transaction ends; those that another one has are waited for, or left out."""
        return self._with(_lock=" FOR UPDATE SKIP LOCKED" if skip_locked else " FOR UPDATE")

    def after(self, *values: object) -> Self:
        """Keep what comes after a row, in the order of `order_by`: its keys' values (keyset).

        Raises:
            ValueError: There are not as many values as keys, or one is None, which nothing comes after.
        """
        check_keys(self._order)
        return self.where(following(self._order, values))

    async def count(self, sender: Sender) -> int:
        """Return how many rows there are, whatever the limit is."""
        inner = self._with(_limit=None, _offset=None, _order=(), _lock="")
        text = Text()
        text.add("SELECT count(*) FROM (")
        inner.render(text)
        text.add(") AS counted")
        return int(await sender.fetch_value(*text.build()))

    @overload
    async def fetch_page(
        self, sender: Sender, *, size: int, after: tuple[Any, ...] | None = None, row: None = None
    ) -> Page[dict[str, Any]]: ...
    @overload
    async def fetch_page(
        self, sender: Sender, *, size: int, after: tuple[Any, ...] | None = None, row: type[T]
    ) -> Page[T]: ...
    async def fetch_page(
        self,
        sender: Sender,
        *,
        size: int,
        after: tuple[Any, ...] | None = None,
        row: type[Any] | None = None,
    ) -> Page[Any]:
        """Return a page of rows in the order of `order_by`, whose keys are columns of the result.

        Make the last key one that no two rows share, such as the id. A row that comes or goes between two pages
        moves no other, unlike with an offset.

        Args:
            sender: What sends it.
            size: At most how many rows.
            after: `Page.next` of the page before; None for the first.
            row: A class, called with the columns by name; None for a dict.

        Raises:
            ValueError: There is no order, or `size` is less than 1.
        """
        if _checked_count("size", size) == 0:
            raise ValueError("size is 0: a page has at least one row")
        check_keys(self._order)
        query = self if after is None else self.after(*after)
        # One row more tells whether there is a next page, without another query.
        found = await query.limit(size + 1).fetch_all(sender, row=dict)
        return page_of(found, size, self._order, row)

    def render(self, text: Text) -> None:
        """Add itself to a text."""
        text.parts.append("SELECT DISTINCT " if self._distinct else "SELECT ")
        if self._columns:
            text.join(self._columns, ", ")
        else:
            text.parts.append("*")
        text.parts.append(" FROM ")
        self._table.render(text)
        for word, table, on in self._joins:
            text.parts.append(word)
            table.render(text)
            text.parts.append(" ON ")
            on.render(text)
        clause(" WHERE ", self._conditions, " AND ", text)
        clause(" GROUP BY ", self._group, ", ", text)
        clause(" HAVING ", self._having, " AND ", text)
        clause(" ORDER BY ", self._order, ", ", text)
        if self._limit is not None:
            text.parts.append(" LIMIT ")
            text.value(self._limit)
        if self._offset is not None:
            text.parts.append(" OFFSET ")
            text.value(self._offset)
        text.parts.append(self._lock)


def select(*columns: Expression | Labelled, from_: Table) -> Select:
    """Begin a query.

    >>> from mtenant_database.query import select, table
    >>> contacts = table("contacts")
    >>> query = select(contacts["name"], from_=contacts).where(contacts["id"] == 7)
    >>> query.build().query.as_string(), query.build().params
    ('SELECT "contacts"."name" FROM "contacts" WHERE "contacts"."id" = %s', [7])

    Args:
        *columns: What to return; nothing means all columns.
        from_: The table.
    """
    for column in columns:
        if not isinstance(column, Expression | Labelled):
            raise TypeError(f'{column!r} is no column: write table["name"], or raw(sql.SQL(...))')
    return Select(columns, from_)


def clause(word: str, nodes: tuple[Expression | Ordering, ...], separator: str, text: Text) -> None:
    """Add a clause, or nothing if there is nothing in it."""
    if nodes:
        text.parts.append(word)
        text.join(nodes, separator)


def present(conditions: tuple[Condition | None, ...]) -> tuple[Condition, ...]:
    """Return the conditions that are there.

    Raises:
        TypeError: One is no condition.
    """
    return tuple(_checked(condition) for condition in conditions if condition is not None)


def _checked(condition: object) -> Condition:
    if not isinstance(condition, Condition):
        raise TypeError(
            f"{condition!r} is no condition: compare columns, or write raw(sql.SQL(...), values)"
        )
    return condition


def _checked_count(name: str, count: int | None) -> int | None:
    if count is None:
        return None
    if type(count) is not int:  # True is an int, too
        raise TypeError(f"{name} is {count!r}: write a whole number")
    if not 0 <= count <= _MOST:
        raise ValueError(f"{name} is {count}: write 0 or more, and less than 2**63")
    return count
