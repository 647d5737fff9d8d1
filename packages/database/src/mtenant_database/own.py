"""Our own statements, as messages that are made once: by name where connections have them prepared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mtenant_database.commit import XID, XID_AND_IDENTITY
from mtenant_database.flush import Prepared, Text
from mtenant_database.scope import scope_text

BEGIN: Final = b"BEGIN"


class OwnStatements:
    """What a transaction is made of, beside the statements of its user.

    Args:
        named: Whether every connection has prepared what `to_prepare` says; else all is sent as text.
        role: Whether a scope takes the tenant's role too.

    Attributes:
        begin: BEGIN, without options.
        commit: COMMIT.
        xid: Asks for the transaction's id. As text, also for what would tell whether the server that
            is asked about it later is the same: where nothing is prepared nobody has asked before.
    """

    def __init__(self, *, named: bool, role: bool) -> None:
        self._named = named
        self._write = scope_text(read_only=False, role=role).encode()
        self._read = scope_text(read_only=True, role=role).encode()
        self.begin = Prepared(b"mtenant_begin") if named else Text(BEGIN)
        self.commit = Prepared(b"mtenant_commit") if named else Text(b"COMMIT")
        self.xid = Prepared(b"mtenant_xid") if named else Text(XID_AND_IDENTITY)

    def to_prepare(self) -> list[tuple[bytes, bytes]]:
        """Return the names, each with its text."""
        return [
            (b"mtenant_begin", BEGIN),
            (b"mtenant_commit", b"COMMIT"),
            (b"mtenant_xid", XID),
            (b"mtenant_write", self._write),
            (b"mtenant_read", self._read),
        ]

    def write_scope(self, params: Sequence[bytes]) -> Prepared | Text:
        """Return the scope of a transaction that may write."""
        return Prepared(b"mtenant_write", params) if self._named else Text(self._write, params)

    def read_scope(self, params: Sequence[bytes]) -> Prepared | Text:
        """Return the scope of one that may not."""
        return Prepared(b"mtenant_read", params) if self._named else Text(self._read, params)
