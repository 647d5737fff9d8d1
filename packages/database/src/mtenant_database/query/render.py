"""From nodes to text: what every part of a statement adds to it, and the parameters that go beside."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, cast

from psycopg import sql

_LONGEST = 63  # NAMEDATALEN - 1: the server would cut the rest off (manual, 4.1.1)


class Built(NamedTuple):
    """A statement as a handle takes it: `await acme.fetch_all(*query.build())`.

    Attributes:
        query: The text, with `%s` where a parameter goes.
        params: The parameters, in order.
    """

    query: sql.Composed
    params: list[Any]


class Text:
    """A statement in the making.

    Attributes:
        parts: Pieces of its text.
        params: The parameters so far, one for each `%s`.
    """

    __slots__ = ("params", "parts")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.params: list[Any] = []

    def __str__(self) -> str:
        return "".join(self.parts)

    def add(self, text: str) -> None:
        """Add text; never a value."""
        self.parts.append(text)

    def value(self, value: object) -> None:
        """Add a value: a placeholder in the text, and the value beside it."""
        self.parts.append("%s")
        self.params.append(value)

    def join(self, nodes: tuple[Renderable, ...], separator: str) -> None:
        """Add nodes with text between them."""
        for number, node in enumerate(nodes):
            if number:
                self.parts.append(separator)
            node.render(self)

    def build(self) -> Built:
        """Return the statement."""
        # The text has our words, quoted names and the program's literal `sql.SQL`: no value of anybody.
        return Built(sql.Composed([sql.SQL(cast("Any", str(self)))]), self.params)


class Renderable(Protocol):
    """What can be a part of a statement."""

    def render(self, text: Text) -> None:
        """Add itself."""
        ...


def quote(name: str) -> str:
    """Return a name as PostgreSQL reads it back; `%` is doubled, since placeholders are looked for.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, longer than 63 bytes, or has a NUL.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is text, not {type(name).__name__}")
    if not name or "\0" in name or len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(f"{name!r} is no name: 1 to 63 bytes, without NUL")
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
