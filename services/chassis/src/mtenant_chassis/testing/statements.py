"""What the statements of a module touch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Final

# Words of SQL that may precede something which is no table.
_NO_TABLE: Final = re.compile(
    r"for (no key )?(update|share)|for key share|do update|extract\(\w+ from|from stdin"
)
_NAMED_HERE: Final = re.compile(r"\b(\w+)(?: \([^()]*\))? as (?:not )?(?:materialized )?\(")
_WRITTEN: Final = re.compile(r"\b(?:insert into|update|copy) ([a-z_.]+)")
# What makes rows is followed by a parenthesis, and no table.
_READ: Final = re.compile(r"\b(?:from|join) (?:only |lateral )?+([a-z_.]+)\b(?! ?\()")


def tables_named(module: ModuleType) -> set[str]:
    """Return the tables that the statements in a module's `_CONSTANTS` read and write.

    What a statement makes itself, by `with` or a function, is not among them.

    Args:
        module: Has statements as texts, or dictionaries of texts.

    >>> module = ModuleType("queries")
    >>> module._ADD = "with old as (delete from notes) insert into shared.log (id) select id from old"
    >>> sorted(tables_named(module))
    ['notes', 'shared.log']
    """
    text = _NO_TABLE.sub("", "; ".join(_statements(module)))
    return {*_WRITTEN.findall(text), *_READ.findall(text)} - {*_NAMED_HERE.findall(text)}


def _statements(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        if re.fullmatch("_[A-Z_]+", name):
            several = value.values() if isinstance(value, dict) else [value]
            yield from (one for one in several if isinstance(one, str))
