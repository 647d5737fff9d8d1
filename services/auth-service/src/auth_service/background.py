"""Background: what goes on after the answer, so that the answer's time tells nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self

from mtenant_errors import ServiceUnavailable
from mtenant_logger import get_logger

_MOST: Final = 200

log = get_logger(__name__)


class BackgroundBusy(ServiceUnavailable):
    """More waits than can be done in good time."""

    code, message = "BACKGROUND_BUSY", "too many requests at once: try again"


class Background:
    """Runs coroutines; `async with` it. At its end it waits for those that run."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    def check_room(self) -> None:
        """Refuse more, before it is known whether there is anything to do.

        Raises:
            BackgroundBusy: There is no room.
        """
        if len(self._tasks) >= _MOST:
            raise BackgroundBusy(retry_after=1)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; what it raises is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work after an answer failed", err=error)
