"""A tally: numbers that have to be asked for, kept for some seconds for everybody who wants them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from mtenant_logger import get_logger

AGE: Final = 10.0
"""Seconds for which what was counted serves everybody: all replicas count the same."""

PATIENCE: Final = 1.0
"""Seconds that one who asks waits for it; Prometheus gives up after ten, by default."""

log = get_logger(__name__)


class Tally:
    """Counts when somebody asks, at most every ten seconds, and never fails.

    What takes longer than anybody waits is counted on, and told the next one who asks. What could not be
    counted is not told: an old number would look like a new one.

    Args:
        count: Asks whoever knows.

    Attributes:
        numbers: What was counted last, by name.
    """

    def __init__(self, count: Callable[[], Awaitable[Mapping[str, int | float]]]) -> None:
        self._count = count
        self._counted: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.numbers: dict[str, int | float] = {}

    async def refresh(self) -> None:
        """Count anew if what is known is too old, and return when that is done or takes too long."""
        if self._task is None:
            if self._counted is not None and time.monotonic() - self._counted < AGE:
                return
            self._task = asyncio.create_task(self._run(), name="mtenant-chassis tally")
        await asyncio.wait({self._task}, timeout=PATIENCE)

    async def close(self) -> None:
        """Count no more, and forget what was counted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.numbers, self._counted = {}, None

    async def _run(self) -> None:
        try:
            self.numbers = dict(await self._count())
        except Exception as exc:
            self.numbers = {}
            log.warning("a tally cannot be taken", err=exc)
        finally:
            self._counted, self._task = time.monotonic(), None
