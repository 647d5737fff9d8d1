"""Names as SQL and as text. A name may hold quotes, line ends and a terminal's escape sequences.

Quoted by doubling alone, a name with a line end would break "one line of cure", and one with an escape
sequence would be carried out by the terminal. `U&"..."` says any character in plain ones (PostgreSQL
manual, 4.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = re.compile(r'"((?:[^"]|"")*)"|([^,\s"]+)')


def ident(*names: str) -> str:
    r"""Return a name, qualified if several are given, as SQL in one line.

    >>> print(ident("shared", 'od"d'), ident("two\nlines"))
    "shared"."od""d" U&"two\000Alines"
    """
    return ".".join(_quoted(name, '"') for name in names)


def literal(text: str) -> str:
    """Return a text as SQL in one line.

    >>> print(literal("it's"))
    'it''s'
    """
    return _quoted(text, "'")


def shown(text: str) -> str:
    r"""Return a text as people may read it: what is not printable becomes an escape.

    >>> print(shown("red\x1b[31m"))
    red\x1b[31m
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )


def named(*names: str) -> str:
    """Return a name, qualified if several are given, as people may read it.

    >>> named("shared", "people"), named("a.b", "c")
    ('shared.people', '"a.b".c')
    """
    return ".".join(
        name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else f'"{shown(name)}"' for name in names
    )


def some(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few of a list, and how many more there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def path_of(setting: str) -> list[str]:
    """Return the schemas of a `search_path` as the server reads it.

    >>> path_of('"$user", Public, "Ten ant"')
    ['$user', 'public', 'Ten ant']
    """
    found = _NAME.finditer(setting)
    return [
        one[1].replace('""', '"') if one[1] is not None else one[2].lower()
        for one in found
        if one[0] != '""'
    ]


def _quoted(text: str, quote: str) -> str:
    if text.isprintable() and not (quote == "'" and "\\" in text):
        return f"{quote}{text.replace(quote, quote * 2)}{quote}"
    said = "".join(
        one
        if one.isprintable() and one != "\\"
        else f"\\+{ord(one):06X}"
        if ord(one) > 0xFFFF
        else f"\\{ord(one):04X}"
        for one in text
    )
    return f"U&{quote}{said.replace(quote, quote * 2)}{quote}"
