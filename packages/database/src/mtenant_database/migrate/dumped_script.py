r"""The text of a dumped schema, read again: statements, and the rows between them.

It is what pg_dump writes for psql: SQL, `COPY ... FROM stdin;` followed by rows up to a line `\.`, and
since 2025 `\restrict` around it all, which binds psql only. Any other command of psql is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mtenant_database.migrate.archive import BLOCK
from mtenant_database.migrate.statement import Unterminated, split

_END: Final = b"\\.\n"
_BOUNDS: Final = (b"\\restrict ", b"\\unrestrict ")


class ScriptBroken(ValueError):
    """The text is not what pg_dump writes."""


@dataclass(frozen=True)
class Sql:
    """A statement, or what comes before the rows of a table."""

    text: str

    @property
    def is_copy(self) -> bool:
        """Whether rows follow."""
        return self.text.startswith("COPY ") and self.text.endswith("FROM stdin;")

    @property
    def is_grant(self) -> bool:
        """Whether it gives or takes privileges."""
        return self.text.startswith(("GRANT ", "REVOKE "))

    @property
    def is_setting(self) -> bool:
        """Whether it is about the session that reads the text, and not about the schema."""
        return self.text.startswith(("SET ", "SELECT pg_catalog.set_config("))


class DumpedScript:
    """The statements of a dumped text; after one that `is_copy`, `rows` are to be read to their end.

    Args:
        lines: The text, line by line.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[Sql]:
        """Yield each statement.

        Raises:
            ScriptBroken: It is not what pg_dump writes.
        """
        text = ""
        for line in self._lines:
            if not text and (not line.strip() or line.startswith((b"--", *_BOUNDS))):
                continue
            if not text and line.startswith(b"\\"):
                raise ScriptBroken("a command of psql is among the statements")
            try:
                text += line.decode()
            except UnicodeDecodeError as exc:
                raise ScriptBroken("a statement is not UTF-8") from exc
            if text.endswith(";\n") and _is_whole(text):
                statement, text = Sql(text.rstrip("\n")), ""
                yield statement
        if text:
            raise ScriptBroken("it ends within a statement")

    def rows(self) -> Iterator[bytes]:
        """Yield the rows of the table whose COPY came last, in blocks.

        Raises:
            ScriptBroken: They do not end.
        """
        block: list[bytes] = []
        size = 0
        for line in self._lines:
            if line == _END:
                if block:
                    yield b"".join(block)
                return
            block.append(line)
            size += len(line)
            if size >= BLOCK:
                yield b"".join(block)
                block, size = [], 0
        raise ScriptBroken("it ends within the rows of a table")


def _is_whole(text: str) -> bool:
    """Tell whether the text ends where a statement does, and not inside a body or a quoted name."""
    try:
        pieces = split(text + "SELECT")
    except Unterminated:
        return False
    return pieces[-1].text.strip() == "SELECT"
