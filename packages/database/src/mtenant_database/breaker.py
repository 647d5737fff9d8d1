"""Circuit breaker: while a server is away, callers are told so at once instead of one after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic
from typing import Final, Literal

from mtenant_database.errors import DatabaseUnavailable

State = Literal["closed", "open", "half-open"]

THRESHOLD: Final = 5
"""Failures in a row after which it opens."""

_FIRST_PAUSE: Final = 1.0  # seconds; doubled by each attempt that fails
_LONGEST_PAUSE: Final = 30.0

_logger = logging.getLogger(__name__)


class Breaker:
    """Counts failures of one server to be there; an error of a statement is none.

    Closed, everybody passes. Open, nobody does until a pause is over. Then it is half-open: one caller
    passes to try, the others wait for another pause; any answer of the server closes it.

    Args:
        on_open: Called each time it opens.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        on_open: Callable[[], object] = lambda: None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._on_open = on_open
        self._clock = clock
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._until = 0.0
        self._trying = False

    @property
    def state(self) -> State:
        """The state at this moment."""
        if self._failures < THRESHOLD:
            return "closed"
        return "open" if self._clock() < self._until else "half-open"

    def check(self) -> None:
        """Let the caller pass, or not.

        Raises:
            DatabaseUnavailable: It is open; `retry_after` says for how long.
        """
        if self._failures < THRESHOLD:
            return
        now = self._clock()
        if now < self._until:
            raise DatabaseUnavailable(
                internal=f"the circuit breaker is open after {self._failures} failures in a row",
                retry_after=math.ceil(self._until - now),
            )
        self._trying = True
        self._until = now + self._pause  # for the others: this one may never tell how it went

    def failed(self) -> None:
        """Count that the server was not there."""
        self._failures += 1
        now = self._clock()
        if self._failures == THRESHOLD:
            self._pause = _FIRST_PAUSE
            self._until = now + self._pause
            _logger.warning("the database is away: its circuit breaker opens for %g s", self._pause)
            self._on_open()
        elif self._trying:  # and not one that was under way when it opened
            self._trying = False
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._until = now + self._pause

    def succeeded(self) -> None:
        """Note an answer of the server."""
        if self._failures >= THRESHOLD:
            _logger.warning("the database is back: its circuit breaker closes")
        self._failures = 0
        self._trying = False
