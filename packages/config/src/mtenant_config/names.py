"""How a setting is called: keys, the variables that set them, and what was probably meant.

A key is a dotted path of snake_case words, `db.max_conns`. `maxConns`, `max-conns` and `MaxConns`
fold to the same word; in a variable two underscores stand for the dot: `CRM_DB__MAX_CONNS`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")

_PREFIX = re.compile(r"[A-Z](?:_?[A-Z0-9])*")

FILE_SUFFIX = "_FILE"


def check_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix that is no upper-case name, such as `crm` or `CRM_`."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"the prefix {prefix!r} is not an upper-case name such as 'CRM'")


def fold(key: str) -> str:
    """Return the one spelling of a key: snake_case words, lower case, dots between the levels.

    >>> fold("db.maxConns"), fold("DB.max-conns"), fold("db.HTTPPort")
    ('db.max_conns', 'db.max_conns', 'db.http_port')
    """
    return _HUMP.sub("_", key).replace("-", "_").replace(" ", "_").lower()


def variable(key: str, prefix: str | None = None) -> str:
    """Return the environment variable that sets a folded key.

    >>> variable("db.max_conns", "CRM"), variable("port")
    ('CRM_DB__MAX_CONNS', 'PORT')
    """
    name = key.upper().replace(".", "__")
    return f"{prefix}_{name}" if prefix else name


def key_of(name: str, prefix: str) -> str | None:
    """Return the key that a variable sets, or None when it is not one of ours.

    Only the exact prefix and upper case count, so that `CRMX_PORT` is not read by `CRM`.

    >>> key_of("CRM_DB__HOST", "CRM"), key_of("CRMX_DB__HOST", "CRM"), key_of("CRM_db", "CRM")
    ('db.host', None, None)
    """
    if not name.startswith(f"{prefix}_") or name != name.upper() or not name.isprintable():
        return None
    words = name[len(prefix) + 1 :].split("__")
    if any(not word.strip("_") for word in words):
        return None
    key = ".".join(words).lower()
    return key if variable(key, prefix) == name else None


def sections_of(key: str) -> list[str]:
    """Return the sections around a key, the outermost first.

    >>> sections_of("a.b.c")
    ['a', 'a.b']
    """
    parts = key.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def squash(name: str) -> str:
    """Return what is left of a name without case and separators.

    >>> squash("CRM_DB__HOST") == squash("crm-db.Host")
    True
    """
    return _NOT_A_LETTER.sub("", name.lower())


def near(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was probably meant by `name`, or None.

    The same letters with other separators or case come first, then the closest spelling.

    >>> near("CRM_DB__HOST", ["PATH", "CRM_DB_HOST"])
    'CRM_DB_HOST'
    >>> near("port", ["prot", "host"])
    'prot'
    """
    by_letters: dict[str, str] = {}
    for candidate in candidates:
        by_letters.setdefault(squash(candidate), candidate)
    wanted = squash(name)
    if wanted in by_letters:
        return by_letters[wanted]
    close = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=0.75)
    return by_letters[close[0]] if close else None


def misspelt(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` is a slip of, or None; `prod1` is no slip of `prod2`.

    >>> misspelt("prodution", ["production"]), misspelt("prod1", ["prod2"])
    ('production', None)
    """
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.92)
    return close[0] if close else None


def without_prefix(name: str, prefix: str | None) -> str | None:
    """Return the letters of a variable without its prefix, to find it under a wrong one.

    None for a name of a single word: `HOST` alone says too little about whose it is.
    """
    rest = name.removeprefix(f"{prefix}_") if prefix else name
    return squash(rest) if "_" in rest.strip("_") else None


def near_variable(name: str, prefix: str | None, names: Iterable[str]) -> str | None:
    """Return the variable that is set and was probably meant to be `name`, or None.

    Finds wrong separators, wrong case, a missing or another prefix, and misspellings.

    >>> near_variable("CRM_DB__HOST", "CRM", ["DB__HOST"])
    'DB__HOST'
    >>> near_variable("CRM_DB__HOST", "CRM", ["CRN_DB_HOST", "HOME"])
    'CRN_DB_HOST'
    """
    rest = without_prefix(name, prefix)
    wanted = squash(name)
    misspelt = None
    for candidate in sorted(names):
        if candidate == name:
            continue
        letters = squash(candidate)
        if letters == wanted:
            return candidate
        behind_first_word = squash(candidate.partition("_")[2])
        if rest is not None and rest in (letters, behind_first_word):
            misspelt = misspelt or candidate
    if misspelt is not None:
        return misspelt
    close = difflib.get_close_matches(name, [n for n in names if n != name], n=1, cutoff=0.85)
    return close[0] if close else None
