"""What all statements share: they are built step by step, never changed, and sent by whoever has rows."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar, overload

from psycopg.abc import Params, Query

from mtenant_database.query.render import Built, Text
from mtenant_database.rows import RowShape
from mtenant_database.verbs import ExecuteResult

T = TypeVar("T")


class Sender(Protocol):
    """What sends a statement: a handle, a transaction, `Database`, or the fake of one."""

    async def execute(self, query: Query, params: Params | None = None) -> ExecuteResult:
        """Send a statement whose rows are not wanted."""
        ...

    async def fetch_all(
        self, query: Query, params: Params | None = None, *, row: Any = None
    ) -> list[Any]:
        """Return all rows."""
        ...

    async def fetch_one(
        self, query: Query, params: Params | None = None, *, row: Any = None
    ) -> Any:
        """Return the only row."""
        ...

    async def fetch_optional(
        self, query: Query, params: Params | None = None, *, row: Any = None
    ) -> Any:
        """Return the only row, or None."""
        ...

    async def fetch_value(self, query: Query, params: Params | None = None) -> Any:
        """Return the first column of the only row."""
        ...


class Statement:
    """A statement in the making. Each method returns a new one, so that one may be the start of many."""

    __slots__ = ()

    def render(self, text: Text) -> None:
        """Add itself to a text."""
        raise NotImplementedError

    def build(self) -> Built:
        """Return the text and the parameters: `await acme.fetch_all(*query.build())`."""
        text = Text()
        self.render(text)
        return text.build()

    def __repr__(self) -> str:
        text = Text()
        self.render(text)
        return f"<{type(self).__name__} {text}>"  # without the parameters

    def _with(self, **changes: object) -> Self:
        other = object.__new__(type(self))
        for kind in type(self).__mro__:
            for name in getattr(kind, "__slots__", ()):
                setattr(other, name, changes[name] if name in changes else getattr(self, name))
        return other


class Rows(Statement):
    """A statement that returns rows."""

    __slots__ = ()

    @overload
    async def fetch_all(self, sender: Sender, *, row: None = None) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch_all(self, sender: Sender, *, row: RowShape[T]) -> list[T]: ...
    async def fetch_all(self, sender: Sender, *, row: RowShape[Any] | None = None) -> list[Any]:
        """Send it and return all rows; `row` is as for a handle."""
        return await sender.fetch_all(*self.build(), row=row)

    @overload
    async def fetch_one(self, sender: Sender, *, row: None = None) -> tuple[Any, ...]: ...
    @overload
    async def fetch_one(self, sender: Sender, *, row: RowShape[T]) -> T: ...
    async def fetch_one(self, sender: Sender, *, row: RowShape[Any] | None = None) -> Any:
        """Send it and return the only row.

        Raises:
            RowNotFound: There is none.
            MultipleRows: There are several.
        """
        return await sender.fetch_one(*self.build(), row=row)

    @overload
    async def fetch_optional(
        self, sender: Sender, *, row: None = None
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetch_optional(self, sender: Sender, *, row: RowShape[T]) -> T | None: ...
    async def fetch_optional(self, sender: Sender, *, row: RowShape[Any] | None = None) -> Any:
        """Send it and return the only row, or None.

        Raises:
            MultipleRows: There are several.
        """
        return await sender.fetch_optional(*self.build(), row=row)

    async def fetch_value(self, sender: Sender) -> Any:
        """Send it and return the first column of the only row."""
        return await sender.fetch_value(*self.build())


class Change(Rows):
    """A statement that changes rows, and returns them if `returning` says so."""

    __slots__ = ()

    async def execute(self, sender: Sender) -> ExecuteResult:
        """Send it, and return how many rows it changed."""
        return await sender.execute(*self.build())
