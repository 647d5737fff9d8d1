"""Deliveries that wait for a handler: a lane for each tenant, and the tenants take turns."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """What waits, by tenant: first in, first out in each lane, and one from each lane in turn.

    A tenant has no more than its share of the handlers at a time, so that one with many slow events
    leaves some for the others.

    Args:
        share: How many of one tenant may be out at a time.

    >>> lanes = Lanes[str](share=2)
    >>> for tenant, item in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")]:
    ...     lanes.put(tenant, item)
    >>> [lanes.take() for _ in range(4)]
    [('a', 'a1'), ('b', 'b1'), ('a', 'a2'), None]
    >>> lanes.done("a")
    >>> lanes.take()
    ('a', 'a3')
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._lanes: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()  # tenants of whom one may be taken
        self._out: dict[str, int] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, tenant: str, item: T) -> None:
        """Let an item wait."""
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = deque()
            if self._out.get(tenant, 0) < self._share:
                self._turns.append(tenant)
        lane.append(item)
        self._waiting += 1

    def enter(self, tenant: str) -> bool:
        """Take an item that has just come, if it is nobody's turn and the tenant has not its share."""
        out = self._out.get(tenant, 0)
        if self._turns or out >= self._share:
            return False
        self._out[tenant] = out + 1
        return True

    def take(self) -> tuple[str, T] | None:
        """Return the next item and its tenant; None if nobody's turn has come."""
        if not self._turns:
            return None
        tenant = self._turns.popleft()
        lane = self._lanes[tenant]
        item = lane.popleft()
        self._waiting -= 1
        out = self._out[tenant] = self._out.get(tenant, 0) + 1
        if not lane:
            del self._lanes[tenant]
        elif out < self._share:
            self._turns.append(tenant)
        return tenant, item

    def done(self, tenant: str) -> None:
        """Say that an item of the tenant, taken before, is out no longer."""
        out = self._out[tenant] = self._out[tenant] - 1
        if tenant in self._lanes and out == self._share - 1:
            self._turns.append(tenant)
        if not out:
            del self._out[tenant]

    def clear(self) -> list[T]:
        """Return everything that waits, and forget it."""
        items = [item for lane in self._lanes.values() for item in lane]
        self._lanes.clear()
        self._turns.clear()
        self._waiting = 0
        return items
