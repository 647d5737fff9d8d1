"""When to stop asking: a breaker for each service that is called, and a budget for retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FAILURES: Final = 5
"""Failures in a row that open a breaker."""

REST: Final = 5.0
"""Seconds for which it stays open; then one request may try."""

_PRICE: Final = 10  # requests for a retry: more retries would make an overload worse
_MOST: Final = 10


class Breaker:
    """Open after five failures in a row; then one request tries every five seconds.

    Args:
        clock: Gives seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_try = 0.0

    @property
    def is_open(self) -> bool:
        """Whether requests are refused."""
        return self._failures >= FAILURES

    def wait(self) -> float:
        """Return 0 if a request may be sent, or after how many seconds to ask again."""
        if not self.is_open:
            return 0.0
        left = self._next_try - self._clock()
        if left > 0:
            return left
        self._next_try = self._clock() + REST  # this one tries; others wait for what comes of it
        return 0.0

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self) -> None:
        """Count a failure: no answer, or one that says that the service is not available."""
        self._failures += 1
        self._next_try = self._clock() + REST


class RetryBudget:
    """Lets one retry pass for every ten requests, and ten at once after a quiet time."""

    def __init__(self) -> None:
        self._requests = _MOST * _PRICE

    def earn(self) -> None:
        """Count a request."""
        self._requests = min(_MOST * _PRICE, self._requests + 1)

    def spend(self) -> bool:
        """Take a retry out, if there is one."""
        if self._requests < _PRICE:
            return False
        self._requests -= _PRICE
        return True
