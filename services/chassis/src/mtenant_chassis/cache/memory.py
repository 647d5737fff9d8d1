"""MemoryStore: entries in this process; alone, or while the shared store is away."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST: Final = 10_000


class MemoryStore:
    """Keeps the 10,000 entries that were used last.

    Args:
        most: How many, instead.
        clock: Gives seconds that only go forward.
    """

    def __init__(self, *, most: int = _MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[str, tuple[float, int, bytes | None]] = OrderedDict()
        self._most = most
        self._clock = clock

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        entry = self._living(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[2]

    async def fill(self, key: str, version: int, value: bytes, seconds: float) -> None:
        """Keep a value, unless something newer is known."""
        entry = self._living(key)
        if entry is not None:
            known, kept = entry[1], entry[2]
            if known > version or (known == version and kept is not None):
                return
        self._put(key, (self._clock() + seconds, version, value))

    async def drop(self, key: str, version: int, seconds: float) -> None:
        """Leave a tombstone."""
        entry = self._living(key)
        if entry is None or entry[1] < version:
            self._put(key, (self._clock() + seconds, version, None))

    async def ping(self) -> bool:
        """Return True."""
        return True

    def _living(self, key: str) -> tuple[float, int, bytes | None] | None:
        entry = self._entries.get(key)
        if entry is not None and entry[0] <= self._clock():
            del self._entries[key]
            return None
        return entry

    def _put(self, key: str, entry: tuple[float, int, bytes | None]) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
