"""The course of a primary's log: when it was where, which makes a position a time."""

from __future__ import annotations

import math
from collections import deque

from mtenant_database.routing.sight import Sight


class Course:
    """The looks at a primary within the time that lag is measured in.

    Lag is told from them and not from a replica's clock: the time of the last transaction that was
    replayed stands still on an idle primary, and positions alone know no time.

    Args:
        seconds: How far back to remember.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sights: deque[Sight] = deque()

    @property
    def latest(self) -> Sight | None:
        """The last look; None before the first."""
        return self._sights[-1] if self._sights else None

    def add(self, sight: Sight) -> None:
        """Remember a look; one at another timeline makes the earlier ones meaningless."""
        if self.latest is not None and self.latest.timeline != sight.timeline:
            self._sights.clear()
        self._sights.append(sight)
        while sight.at - self._sights[0].at > self._seconds:
            self._sights.popleft()

    def lag(self, position: int) -> float:
        """Return how long before the last look the primary was there, in seconds.

        Whoever has replayed up to `position` has everything that was committed by then. It is
        infinite where that is longer ago than is remembered.
        """
        for sight in reversed(self._sights):
            if sight.position <= position:
                return self._sights[-1].at - sight.at
        return math.inf
