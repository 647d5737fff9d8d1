"""Positions in the write-ahead log, by which a replica is known to have what a primary wrote."""

from __future__ import annotations

import re
from typing import Final

from mtenant_errors import BadRequest

# Behind the record of every commit that has been answered, with synchronous_commit off as well, which
# the written and the flushed position are not (manual, 9.28.3).
POSITION: Final = b"select pg_current_wal_insert_lsn()::text"

_TEXT: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class InvalidPosition(BadRequest):
    """The text is no position in a write-ahead log."""

    code, message = "INVALID_POSITION", "this is no position to read behind"


def parse_position(text: str) -> int:
    """Return the number of a position (a `pg_lsn`; manual, 8.20).

    >>> parse_position("16/B374D848") - parse_position("16/B374D840")
    8

    Raises:
        InvalidPosition: It is none.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidPosition(internal=f"{text[:40]!r}: expected such as 16/B374D848")
    return (int(match[1], 16) << 32) + int(match[2], 16)


def position_text(position: int) -> str:
    """Return the text of a position."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
