"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Timer:
    """Something that happens at a time, unless it is cancelled."""

    __slots__ = ("_callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.cancelled = False
        self._callback = callback

    def cancel(self) -> None:
        """Let it not happen."""
        self.cancelled = True

    def fire(self) -> None:
        """Let it happen."""
        self._callback()


class VirtualClock:
    """Time in seconds from 0 on, which moves from one event to the next.

    A handler that is tested with it sleeps by `await clock.sleep(5)`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self.sleeping: set[asyncio.Task[Any]] = set()

    def now(self) -> float:
        """Return the time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of this time."""
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        task = asyncio.current_task()
        if task is not None:
            self.sleeping.add(task)
        try:
            await woken
        finally:
            timer.cancel()
            if task is not None:
                self.sleeping.discard(task)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Have something called after so many seconds."""
        timer = Timer(self._now + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
        return timer

    @property
    def next(self) -> float | None:
        """When the next thing happens; None if nothing will."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def step(self, until: float) -> bool:
        """Go to the next thing that happens, and let it happen; tell whether there was one until then."""
        when = self.next
        if when is None or when > until:
            self._now = max(self._now, until)
            return False
        self._now = max(self._now, when)
        while (due := self.next) is not None and due <= self._now:
            heapq.heappop(self._timers)[2].fire()
        return True
