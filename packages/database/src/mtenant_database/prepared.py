"""Statements without a tenant that come again are prepared, as psycopg does it.

A tenant's are not: behind equal text tenants may have columns and types of their own, and a name
outlives the error of its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mtenant_database.flush import Bind, Messages, Parse

if TYPE_CHECKING:
    from psycopg._queries import PostgresQuery

_THRESHOLD: Final = 5  # psycopg's `prepare_threshold`
_MOST: Final = 100  # psycopg's `prepared_max`
_LONGEST: Final = 4096  # longer ones are generated, and hardly come again

Key = tuple[bytes, tuple[int, ...]]


class PreparedStatements:
    """The prepared statements of one connection; the first hundred that are wanted often.

    None of them is ever replaced: a connection lives for an hour, and then its statements go too.
    """

    def __init__(self) -> None:
        self._names: dict[Key, bytes] = {}
        self._seen: dict[Key, int] = {}
        self._count = 0

    def messages(self, query: PostgresQuery) -> Messages:
        """Return what to send for a query; the result of the last message is the query's."""
        key = (query.query, query.types)
        name = self._names.get(key)
        if name is not None:
            return [Bind(query.params, query.formats, name)]
        if len(self._names) >= _MOST or len(query.query) > _LONGEST:
            return [query]
        if len(self._seen) >= _MOST * _THRESHOLD:
            self._seen.clear()
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] <= _THRESHOLD:
            return [query]
        self._count += 1
        name = b"mtenant_%d" % self._count
        return [Parse(query.query, query.types, name), Bind(query.params, query.formats, name)]

    def sent(self, query: PostgresQuery, messages: Messages) -> None:
        """Note that messages were answered without an error."""
        parse = messages[0]
        if isinstance(parse, Parse):
            self._names[query.query, query.types] = parse.name

    def forget(self, query: PostgresQuery) -> bool:
        """Send a query as text from now on; return whether it was prepared."""
        key = (query.query, query.types)
        self._seen[key] = -_MOST * _THRESHOLD
        return self._names.pop(key, None) is not None
