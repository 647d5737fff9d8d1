"""Version 7 UUIDs: ids that sort by the time they were made."""

from __future__ import annotations

import os
import time

_NANOSECONDS = 1_000_000


def uuid7() -> str:
    """Return a new one as text, in lower case.

    >>> first, second = uuid7(), uuid7()
    >>> len(first), first[14], first <= second or first[:18] == second[:18]
    (36, '7', True)
    """
    digits = f"{uuid7_number():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid7_number() -> int:
    """Return a new one as its 128 bits, of which `uuid.UUID(int=...)` is made at once.

    RFC 9562, 5.7: milliseconds since 1970, then here a fraction of the millisecond of 12 bits (6.2,
    method 3), then 62 random bits of the system's generator, so that a forked process does not repeat
    its parent.
    """
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    fraction = (rest << 12) // _NANOSECONDS
    noise = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | noise
