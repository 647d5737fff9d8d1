"""What a tenant's file may not say.

These are the rules that the text alone decides, so that a file is refused before it runs anywhere.
Whether a file reaches for another component's relation is seen in the catalog: `ownership`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from mtenant_database.migrate.errors import RuleBroken
from mtenant_database.migrate.migration import Migration
from mtenant_database.migrate.script import Script
from mtenant_database.migrate.statement import Statement

_MADE: Final = {
    "TYPE": "one type a tenant is one object identifier a tenant: a plan or a driver that knows the "
    "one fails with the other; use text with a CHECK, or a type of the schema shared",
    "DOMAIN": "a domain is a type of its own in each tenant; use text with a CHECK, or a domain of "
    "the schema shared",
    "EXTENSION": "an extension is there once a database: put it into a shared migration",
}
_DROPPED: Final = frozenset({"TABLE", "VIEW", "MATERIALIZED", "SEQUENCE", "INDEX", "FOREIGN"})
_CONCURRENT: Final = frozenset({"CREATE", "DROP", "ALTER", "REFRESH"})


def check_rules(migration: Migration) -> None:
    """Refuse a tenant's migration that says what no tenant's file may say.

    Raises:
        RuleBroken: CREATE TYPE, DOMAIN or EXTENSION, or CASCADE with DROP or TRUNCATE.
    """
    for script in (migration.up, migration.down):
        for where, problem in _broken(script) if script is not None else ():
            raise RuleBroken(where=where, problem=problem)


def _broken(script: Script) -> Iterator[tuple[str, str]]:
    for statement in script.statements:
        where = script.place_of(statement)
        first, second = _first_two(statement)
        if first == "CREATE" and second in _MADE:
            yield where, f"CREATE {second}: {_MADE[second]}"
        if first == "DROP" and second in ("SCHEMA", "OWNED"):
            yield where, f"DROP {second} takes what is not this file's: name what goes"
        if _leaves(statement):
            yield where, "a tenant's file keeps the role and the search path that it is given"
        if _names_a_schema(statement):
            yield where, "it names a schema: a tenant's file finds its own by the search path"
        if _cascades(statement):
            yield (
                where,
                "CASCADE reaches for whatever depends on it, of other components too: name what goes",
            )


def _first_two(statement: Statement) -> tuple[str, str]:
    words = [word.text for word in statement.words[:2]] + ["", ""]
    return words[0], words[1]


def _leaves(statement: Statement) -> bool:
    said = [word.text for word in statement.words if word.text not in ("LOCAL", "SESSION")]
    # Also behind SET SESSION: its second word was taken out here.
    return said[:1] in (["SET"], ["RESET"]) and said[1:2] in (
        ["SEARCH_PATH"],
        ["SCHEMA"],
        ["ROLE"],
        ["AUTHORIZATION"],
        ["ALL"],
    )


def _names_a_schema(statement: Statement) -> bool:
    # What has been dropped cannot be seen in the catalog any more, so the text must tell whose it was.
    first, second = _first_two(statement)
    takes = first == "TRUNCATE" or (first == "DROP" and second in _DROPPED)
    return takes and any(word.glued for word in statement.words)


def _cascades(statement: Statement) -> bool:
    if _first_two(statement)[0] not in ("DROP", "TRUNCATE", "ALTER"):
        return False
    # ON DELETE CASCADE is a rule of a foreign key and removes no object.
    return any(
        word.text == "CASCADE" and not word.glued and before.text not in ("DELETE", "UPDATE")
        for before, word in pairwise(statement.words)
    )


def without_concurrently(script: Script) -> str:
    """Return a no-transaction script as one that runs inside a transaction, for empty tables.

    CONCURRENTLY is left out where it is a key word. VACUUM and REINDEX are left out wholly: nothing
    is there yet that they could mend.
    """
    said = []
    for statement in script.statements:
        first, _ = _first_two(statement)
        if first in ("VACUUM", "REINDEX"):
            continue
        text = statement.text
        for word in reversed(statement.words if first in _CONCURRENT else ()):
            if word.text == "CONCURRENTLY" and not word.glued:
                text = text[: word.start] + text[word.end :]
        said.append(text)
    return "".join(said)
