"""A statement as it may be shown: without literals, and summed up in a few words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_LONGEST_TEXT: Final = 4096
_LONGEST_SUMMARY: Final = 255

# Lexical structure as in the PostgreSQL manual, 4.1. What is not closed goes to the end of the
# text: a statement that was cut inside a literal shows nothing of it.
_TOKEN: Final = re.compile(
    r"""(?P<comment>--[^\n]*|/\*)
    |(?P<literal>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
        |(?:[bBnNxX]|[uU]&)?'(?:[^']|'')*(?:'|\Z)
        |\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        |(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\w*)
    |(?P<parameter>\$\d+|%\(\w+\)\w|%\w)
    |(?P<name>(?:"(?:[^"]|"")*(?:"|\Z)|[^\W\d][\w$]*)(?:\.(?:"(?:[^"]|"")*(?:"|\Z)|[^\W\d][\w$]*))*)
    |(?P<space>\s+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")

# What a statement begins with; one that begins otherwise is OTHER.
_VERBS: Final = frozenset(
    {"ALTER", "ANALYZE", "BEGIN", "CALL", "COMMIT", "COPY", "CREATE", "DELETE", "DO", "DROP"}
    | {"EXPLAIN", "INSERT", "LOCK", "MERGE", "NOTIFY", "REFRESH", "REINDEX", "RELEASE"}
    | {"ROLLBACK", "SAVEPOINT", "SELECT", "SET", "SHOW", "TRUNCATE", "UPDATE", "VACUUM", "VALUES"}
)
# The verbs that also begin a part of a statement, as INSERT ... SELECT has one.
_INNER: Final = frozenset({"DELETE", "INSERT", "MERGE", "SELECT", "UPDATE"})
# Behind these, UPDATE and DELETE are no statements: FOR UPDATE, ON CONFLICT DO UPDATE, THEN DELETE.
_CLAUSES: Final = frozenset({"AFTER", "BEFORE", "DO", "FOR", "KEY", "ON", "OR", "THEN"})
_BEFORE_TARGET: Final = frozenset({"FROM", "INTO", "JOIN", "TABLE", "USING"})
_BETWEEN: Final = frozenset({"CONCURRENTLY", "EXISTS", "IF", "LATERAL", "NOT", "ONLY"})
_ENDS_TARGETS: Final = frozenset({"GROUP", "HAVING", "LIMIT", "ON", "ORDER", "SET", "WHERE"})


@dataclass(frozen=True, slots=True)
class Summary:
    """What may be shown of a statement.

    Attributes:
        summary: Its verbs and the relations that they name, in order: `INSERT deals SELECT leads`.
            At most 255 characters (OpenTelemetry semantic conventions, `db.query.summary`).
        text: The statement without comments and with a ? for each literal, at most 4,096
            characters.
    """

    summary: str
    text: str


def summarize(statement: str) -> Summary:
    """Return what may be shown of a statement. The last 1,024 are remembered.

    >>> summarize("select name from contacts c join deals on true where id = %s and age > 30")
    Summary(summary='SELECT contacts deals', text='select name from contacts c \
join deals on true where id = %s and age > ?')
    """
    return _summarize(statement[:_LONGEST_TEXT])


@lru_cache(maxsize=1024)
def _summarize(statement: str) -> Summary:
    tokens = list(_tokens(statement))
    text = "".join("?" if kind == "literal" else word for kind, word in tokens)
    words = _words(tokens)
    summary = " ".join(words)
    if len(summary) > _LONGEST_SUMMARY:
        summary = summary[: _LONGEST_SUMMARY + 1].rpartition(" ")[0]
    return Summary(summary or "OTHER", " ".join(text.split()))


def _tokens(statement: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(statement):
        match = _TOKEN.match(statement, at)
        assert match is not None  # noqa: S101 -- the last alternative takes any character
        kind, at = str(match.lastgroup), match.end()
        if kind == "tag":
            kind = "literal"
        if match[0] == "/*":
            at = _end_of_comment(statement, at)
        yield (kind, " ") if kind == "comment" else (kind, match[0])


def _end_of_comment(statement: str, at: int) -> int:
    depth = 1  # comments nest (manual, 4.1.5)
    while depth:
        mark = _COMMENT_MARK.search(statement, at)
        if mark is None:
            return len(statement)
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return at


def _words(tokens: list[tuple[str, str]]) -> list[str]:
    words: list[str] = []
    before = ""  # the word before, in upper case
    verbs: list[bool] = [False]  # for each open parenthesis: has a verb begun inside?
    expects = listing = False
    for kind, piece in tokens:
        if kind in {"space", "comment"}:
            continue
        if kind != "name":
            expects, listing = listing and piece == ",", listing and piece == ","
            if piece == "(":
                verbs.append(False)
            elif piece == ")" and len(verbs) > 1:
                verbs.pop()
            before = piece
            continue
        word = piece.upper()
        if (not words and word in _VERBS) or (word in _INNER and before not in _CLAUSES):
            words.append(word)
            verbs[-1] = True
            expects, listing = word == "UPDATE", False
        elif expects and word not in _BETWEEN:
            words.append(piece)
            expects, listing = False, True
        elif word in _BEFORE_TARGET and verbs[-1] and before != "DISTINCT":
            expects, listing = True, False
        elif word in _ENDS_TARGETS:
            listing = False
        before = word
    return words
