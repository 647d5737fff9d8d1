"""What a cache keeps its entries in."""

from __future__ import annotations

from typing import Protocol


class StoreUnavailable(Exception):
    """The store does not answer. The cache goes on without it."""


class Store(Protocol):
    """Versioned entries: for each key the newest version that was heard of, with or without a value.

    An entry without a value is a tombstone: that version and all before it are gone. It stays so that
    a reader that was slow cannot put back what it read before the change.
    """

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none.

        Raises:
            StoreUnavailable: It does not answer.
        """
        ...

    async def fill(self, key: str, version: int, value: bytes, seconds: float) -> None:
        """Keep a value, unless an equal or newer version is known, or a tombstone of that version or later.

        Raises:
            StoreUnavailable: It does not answer.
        """
        ...

    async def drop(self, key: str, version: int, seconds: float) -> None:
        """Leave a tombstone: versions below this one are gone. One that is newer stays.

        Args:
            key: Which entry.
            version: The oldest version that may come back.
            seconds: For how long the tombstone stays: longer than any reader is slow.

        Raises:
            StoreUnavailable: It does not answer.
        """
        ...

    async def ping(self) -> bool:
        """Tell whether it answers."""
        ...
