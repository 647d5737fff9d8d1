"""When a relay looks at the outbox: soon after it was told of an event, and once a second anyway."""

from __future__ import annotations

import asyncio
from typing import Final

FIRST: Final = 0.001
"""Seconds from a hint to the first look, when nothing was going on."""

PACE: Final = 0.02
"""Seconds between two looks while hints keep coming: each look then finds more."""


class Wakeup:
    """Says when to look, by hints.

    A hint is given when an event is added. Where nobody can tell when the transaction around it commits,
    the looks that follow are at growing distances: after 1 ms, then 2, 4, 8 and so on, until they are
    as rare as without a hint. A transaction is seen after at most twice the time that it took, and
    one that rolled back costs ten looks. A hint after the commit costs one.

    Args:
        poll: Seconds between two looks that nobody has asked for; the guarantee behind the hints.
    """

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._gap = poll
        self._looked = -PACE
        self._hinted = asyncio.Event()
        self._unsure = False
        self._told = False

    def hint(self, *, committed: bool = False) -> None:
        """Say that an event was added, or that it is worth a look for another reason.

        Args:
            committed: Whether what is to be seen can be seen now, so that one look will do.
        """
        self._unsure = self._unsure or not committed
        self._hinted.set()

    def missed(self) -> None:
        """Say that what was there to be seen could not be taken, since another relay is at work on it.

        What the last hint told of may have come too late for that one, so that the looks go on as if the
        hint had been unsure. A look that nobody asked for is not repeated before its time: every relay
        that has nothing to do would otherwise look as often as the one that is busy.
        """
        if self._told:
            self._gap = 2 * FIRST

    async def wait(self) -> None:
        """Return when it is time to look."""
        self._told = False
        try:
            async with asyncio.timeout(self._gap):
                await self._hinted.wait()
        except TimeoutError:
            self._gap = min(self._gap * 2, self._poll)
        else:
            self._hinted.clear()
            self._told = True
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(FIRST, self._looked + PACE - now))
            if self._unsure:
                self._gap = 2 * FIRST
                self._unsure = False
        self._looked = asyncio.get_running_loop().time()
