"""Marks: up to where in the log each tenant has written, so that its reads do not fall behind that."""

from __future__ import annotations

from typing import Final

MOST: Final = 10_000
"""How many tenants are told apart; beyond, what one has written is waited for by all."""


class Marks:
    """The last write of each tenant, as far as a replica may not have it yet.

    A commit whose position is not known counts as one behind all others, until a look at the primary
    that began after it bounds it.
    """

    def __init__(self) -> None:
        self._known: dict[str | None, int] = {}
        self._floor = 0
        # Commits without a position are numbered; of each tenant the last one.
        self._unknown: dict[str | None, int] = {}
        self._unknown_floor = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    @property
    def unknown(self) -> int:
        """The number of the last commit without a known position; for `bound`."""
        return self._count

    def note(self, tenant: str | None, position: int | None) -> None:
        """Note a commit."""
        if position is None:
            self._count += 1
            self._unknown[tenant] = self._count
        else:
            self._known[tenant] = max(self._known.get(tenant, 0), position)
        if len(self) > MOST:
            self._forget_whose()

    def of(self, tenant: str | None) -> int | None:
        """Return the position that a replica must have for the tenant's reads; None: it is not known."""
        if self._unknown_floor or tenant in self._unknown:
            return None
        return max(self._floor, self._known.get(tenant, 0))

    def bound(self, unknown: int, position: int) -> None:
        """Give commits of unknown position the one of a look that began after them.

        Args:
            unknown: What `unknown` was when the look began.
            position: What it saw.
        """
        if 0 < self._unknown_floor <= unknown:
            self._unknown_floor = 0
            self._floor = max(self._floor, position)
        for tenant in [each for each, number in self._unknown.items() if number <= unknown]:
            del self._unknown[tenant]
            self._known[tenant] = max(self._known.get(tenant, 0), position)

    def _forget_whose(self) -> None:
        self._floor = max(self._floor, *self._known.values(), 0)
        self._unknown_floor = max(self._unknown_floor, *self._unknown.values(), 0)
        self._known.clear()
        self._unknown.clear()
