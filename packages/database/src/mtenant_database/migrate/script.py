"""One direction of a migration: its SQL, and what its leading comments ask for.

Directives stand in the comments before the first statement, one a line or several in a row:

```sql
-- migrate: no-transaction lock_timeout=10s
-- migrate: requires auth>=3
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from mtenant_database.migrate.errors import MigrationFileInvalid
from mtenant_database.migrate.statement import Statement, Unterminated, leading, split

# 63 bytes, as an identifier has; the rest is the grammar of a key word.
_COMPONENT: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_DIRECTIVE: Final = re.compile(r"--[ \t]*migrate[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_TIMEOUT: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:ms|s|min|h)")
_REQUIREMENT: Final = re.compile(r"([^<>= ]+)>=([0-9]{1,18})")
_KNOWN: Final = (
    "no-transaction, lock_timeout=5s, statement_timeout=1min, contract, requires a>=1, irreversible"
)
# A transactional file is inside the transaction that also writes the ledger.
_CONTROL: Final = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"})


def check_component(name: str) -> str:
    """Return the name of a component as it is.

    Raises:
        MigrationFileInvalid: It does not match `[a-z][a-z0-9_-]{0,62}`.
    """
    if _COMPONENT.fullmatch(name) is None:
        raise MigrationFileInvalid(
            where=f"component {name!r}",
            problem="a name is a letter, then a-z, 0-9, - and _, 63 at most",
        )
    return name


@dataclass(frozen=True, order=True)
class Requirement:
    """Another component, and the version that it must have reached.

    >>> str(Requirement("auth", 3))
    'auth>=3'
    """

    component: str
    version: int

    def __str__(self) -> str:
        return f"{self.component}>={self.version}"


@dataclass(frozen=True)
class Directives:
    """What the leading comments of a file ask for.

    Attributes:
        transactional: Whether the file runs inside one transaction, with its row of the ledger.
        contract: Whether it waits for `up --contract`.
        irreversible: Whether there is deliberately no way down.
        lock_timeout: As PostgreSQL writes it, such as `5s`; None for the run's own.
        statement_timeout: The same.
        requires: Other components that come first.
    """

    transactional: bool = True
    contract: bool = False
    irreversible: bool = False
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    requires: tuple[Requirement, ...] = ()


class Script:
    """The text of a file, checked.

    Args:
        text: With any line ends; kept with LF.
        source: What errors call it, such as a path.
        checked: Whether it has been checked before: it is in the registry.

    Raises:
        MigrationFileInvalid: It says nothing, a quote is never closed, a directive is unknown, or
            it begins or ends a transaction of its own.
    """

    def __init__(self, text: str, source: str, *, checked: bool = False) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.source = source
        if checked:
            return
        if "\0" in self.text:
            raise MigrationFileInvalid(where=source, problem="it has a NUL byte, which SQL cannot")
        if all(piece.blank for piece in self.statements):
            raise MigrationFileInvalid(where=source, problem="it is empty: write a statement")
        self._refuse_copy()
        self._refuse_psql()
        if self.directives.transactional:
            self._refuse_transaction_control()

    @cached_property
    def directives(self) -> Directives:
        """What its leading comments ask for."""
        return self._directives()

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The statements; a piece that says nothing is none."""
        try:
            return tuple(piece for piece in split(self.text) if not piece.blank)
        except Unterminated as exc:
            raise MigrationFileInvalid(where=self.place(exc.offset), problem=str(exc)) from None

    @property
    def controls_transactions(self) -> bool:
        """Whether it begins or ends a transaction of its own; one that is checked does only outside."""
        return any(_control(statement) is not None for statement in self.statements)

    def place(self, offset: int) -> str:
        """Return source and line of a character."""
        return f"{self.source}:{self.text.count(chr(10), 0, offset) + 1}"

    def place_of(self, statement: Statement) -> str:
        """Return source and line where a statement begins."""
        return self.place(statement.offset + statement.start)

    def _refuse_copy(self) -> None:
        for statement in self.statements:
            if statement.begins("COPY") and any(
                word.text in ("STDIN", "STDOUT") for word in statement.words
            ):
                raise MigrationFileInvalid(
                    where=self.place_of(statement),
                    problem="COPY from or to a client, who is not there: write INSERT",
                )

    def _refuse_psql(self) -> None:
        for statement in self.statements:
            if statement.backslash is not None:
                offset = statement.offset + statement.backslash
                word = self.text[offset:].split(maxsplit=1)[0]
                raise MigrationFileInvalid(
                    where=self.place(offset),
                    problem=f"{word[:20]} is a command of psql, and not SQL: leave it out",
                )

    def _refuse_transaction_control(self) -> None:
        for statement in self.statements:
            if (word := _control(statement)) is not None:
                raise MigrationFileInvalid(
                    where=self.place_of(statement),
                    problem=f"{word} in a file that is one transaction already: leave it out, or "
                    "write `-- migrate: no-transaction` at the top",
                )

    def _directives(self) -> Directives:
        found: dict[str, object] = {}
        requires: list[Requirement] = []
        # Only what is before the first token: later comments are prose.
        head = self.text[: leading(self.text)]
        for number, line in enumerate(head.splitlines(), start=1):
            match = _DIRECTIVE.fullmatch(line.strip())
            if match is None:
                continue
            where = f"{self.source}:{number}"
            words = match.group(1).replace(",", " ").split()
            if not words:
                raise MigrationFileInvalid(where=where, problem=f"it says nothing; {_KNOWN}")
            while words:
                word = words.pop(0)
                if word == "requires":
                    requires += _requirements(words, where)
                    continue
                name, value = _directive(word, where)
                if name in found:
                    raise MigrationFileInvalid(where=where, problem=f"{word} is said twice")
                found[name] = value
        return Directives(**found, requires=tuple(sorted(set(requires))))  # type: ignore[arg-type]  # values are of the kind that _directive gives their names


def _control(statement: Statement) -> str | None:
    """Return the word that begins or ends a transaction, if this statement does."""
    word = statement.words[0].text if statement.words else ""
    if word not in _CONTROL or statement.begins("ROLLBACK", "TO"):
        return None
    if word == "PREPARE" and not statement.begins("PREPARE", "TRANSACTION"):
        return None
    return word


def _directive(word: str, where: str) -> tuple[str, object]:
    name, equals, value = word.partition("=")
    if name in ("lock_timeout", "statement_timeout") and equals:
        if _TIMEOUT.fullmatch(value) is None:
            raise MigrationFileInvalid(
                where=where, problem=f"{value!r} is no time such as 500ms, 5s, 2min or 1h"
            )
        return name, value
    if word == "no-transaction":
        return "transactional", False
    if word in ("contract", "irreversible"):
        return word, True
    raise MigrationFileInvalid(where=where, problem=f"{word!r} is no directive; {_KNOWN}")


def _requirements(words: list[str], where: str) -> list[Requirement]:
    found = []
    while words and (match := _REQUIREMENT.fullmatch(words[0])) is not None:
        found.append(Requirement(check_component(match.group(1)), int(match.group(2))))
        words.pop(0)
    if not found:
        raise MigrationFileInvalid(
            where=where, problem="requires wants a component and a version, such as auth>=3"
        )
    return found
