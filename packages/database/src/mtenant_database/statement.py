"""What the first word of a statement tells: read, write, or none of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg._queries import PostgresQuery  # what every psycopg cursor converts its queries with
from psycopg.abc import Params, Query
from psycopg.abc import Transformer as AbstractTransformer
from psycopg.adapt import Transformer

from mtenant_database.flush import Bind, Parse
from mtenant_database.sqlstate import translate

_MOST_PARAMS: Final = 65535  # the protocol counts them in 16 bits
_HEAD: Final = 4096


class Kind(Enum):
    """How a statement is sent."""

    READ = "read"
    WRITE = "write"
    SETTING = "setting"  # for a transaction only, and only what ends with it


# A procedure could commit half way and run on outside of the scope, so that CALL and DO are not
# here: what is not known to read is sent inside an explicit BEGIN, where they cannot.
_READS: Final = frozenset({"select", "with", "values", "table", "show", "explain"})

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"),
        "transactions begin and end by `async with ... .transaction()`",
    ),
    **dict.fromkeys(
        ("listen", "unlisten", "load", "discard", "reset", "prepare", "execute", "deallocate"),
        "it changes the session, which tenants share: use `db.connection(dedicated=True)`",
    ),
    **dict.fromkeys(
        ("declare", "fetch", "move", "close"),
        "a cursor has a method of its own: `async with ... .stream(query)`",
    ),
    "copy": "COPY has a method of its own: `async with ... .copy(statement)`",
    "": "there is no statement in the text",
}
_SET_FOR_SESSION: Final = (
    "it changes the session, which tenants share: write SET LOCAL in a transaction,"
    " or use `db.connection(dedicated=True)`"
)
_SESSION_TABLE: Final = (
    "a temporary table outlives the transaction, and the next tenant would find it: add ON COMMIT"
    " DROP in a transaction, or use `db.connection(dedicated=True)`"
)
_CREATE_TEMPORARY: Final = re.compile(
    rb"create\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp(?:orary)?\b", re.IGNORECASE
)
_ON_COMMIT_DROP: Final = re.compile(rb"\bon\s+commit\s+drop\b", re.IGNORECASE)
_WORD: Final = re.compile(rb"[A-Za-z_]+")
_SPACE: Final = re.compile(rb"(?:[\s(;]+|--[^\n]*(?:\n|\Z))+")
_COMMENT_MARK: Final = re.compile(rb"/\*|\*/")
_COPY: Final = re.compile(rb"copy\b", re.IGNORECASE)
_DELETE: Final = re.compile(rb"delete\b", re.IGNORECASE)
_SET_LOCALLY: Final = re.compile(rb"set\s+(?:local|constraints|transaction)\b", re.IGNORECASE)


def convert(
    conn: AsyncConnection[Any], query: Query, params: Params | None
) -> tuple[PostgresQuery, AbstractTransformer]:
    """Return the query as libpq takes it, and what will load its result.

    Raises:
        StatementFault: The parameters do not fit the placeholders, or cannot be adapted.
        InvalidValue: A parameter is a value that PostgreSQL cannot hold.
        ValueError: More than 65535 parameters.
    """
    transformer = Transformer(conn)
    converted = PostgresQuery(transformer)
    try:
        converted.convert(query, params)
    except psycopg.Error as exc:
        raise translate(exc) from exc
    if converted.params is not None and len(converted.params) > _MOST_PARAMS:
        raise ValueError(
            f"{len(converted.params)} parameters in one statement, PostgreSQL takes {_MOST_PARAMS}:"
            " use execute_many, copy, or one array parameter"
        )
    return converted, transformer


def batch(
    conn: AsyncConnection[Any], query: Query, rows: Sequence[Params]
) -> tuple[list[Parse | Bind], str]:
    """Return the messages that send one statement for many rows, and its text.

    It is parsed where the types change, which psycopg chooses by value: 1 and 100000 are two.

    Raises:
        StatementFault, InvalidValue, ValueError: As `convert` and `kind_of`.
    """
    converted, _ = convert(conn, query, rows[0])
    kind_of(converted.query)
    messages: list[Parse | Bind] = []
    types: Sequence[int] | None = None
    for row in rows:
        try:
            converted.dump(row)
        except psycopg.Error as exc:
            raise translate(exc) from exc
        if converted.types != types:
            types = converted.types
            messages.append(Parse(converted.query, types))
        messages.append(Bind(converted.params, converted.formats))
    return messages, text_of(query, converted.query)


def check_reads(query: bytes) -> None:
    """Refuse what a cursor cannot read.

    Raises:
        ValueError: It is no query.
    """
    if kind_of(query) is not Kind.READ:
        raise ValueError("stream() is for a query: SELECT, WITH, VALUES or TABLE")


def check_copies(query: bytes) -> None:
    """Refuse what is no COPY.

    Raises:
        ValueError: It is none.
    """
    if _COPY.match(query, _first_word(query[:_HEAD])) is None:
        raise ValueError("copy() is for COPY ... FROM STDIN and COPY ... TO STDOUT")


def text_of(query: Query, converted: bytes) -> str:
    """Return the text of a statement for logs and traces; parameters are not in it."""
    return query if isinstance(query, str) else converted.decode("utf-8", "replace")


def deletes(query: bytes) -> bool:
    """Tell whether a statement is a DELETE."""
    return _DELETE.match(query, _first_word(query[:_HEAD])) is not None


def kind_of(query: bytes) -> Kind:
    """Tell how a statement is sent.

    Raises:
        ValueError: It begins or ends a transaction, changes the session, is COPY, or is empty. The
            message says what to use.
    """
    return _kind_of(query[:_HEAD])


@lru_cache(512)
def _kind_of(head: bytes) -> Kind:
    at = _first_word(head)
    match = _WORD.match(head, at)
    word = match[0].decode().lower() if match else ""
    if word in _READS:
        return Kind.READ
    if word == "set":
        if not _SET_LOCALLY.match(head, at):
            raise ValueError(f"SET is not for here: {_SET_FOR_SESSION}")
        return Kind.SETTING
    if _CREATE_TEMPORARY.match(head, at) and not _ON_COMMIT_DROP.search(head, at):
        raise ValueError(f"CREATE TEMPORARY is not for here: {_SESSION_TABLE}")
    if word in _REFUSED:
        raise ValueError(f"{word.upper() or 'nothing'} is not for here: {_REFUSED[word]}")
    return Kind.WRITE


def _first_word(head: bytes) -> int:
    at = 0
    while True:
        if match := _SPACE.match(head, at):
            at = match.end()
        if not head.startswith(b"/*", at):
            return at
        at = _end_of_comment(head, at)


def _end_of_comment(head: bytes, at: int) -> int:
    # They nest in PostgreSQL (manual, 4.1.5): a reader that stops at the first end would take a
    # word of the outer comment for the statement's.
    depth = 0
    for mark in _COMMENT_MARK.finditer(head, at):
        depth += 1 if mark[0] == b"/*" else -1
        if depth == 0:
            return mark.end()
    return len(head)
