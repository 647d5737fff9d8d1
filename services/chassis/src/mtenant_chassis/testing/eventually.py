"""Waiting for what others do."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable


async def eventually(predicate: Callable[[], object], *, within: float = 30.0) -> None:
    """Wait until a predicate holds.

    Args:
        predicate: Says whether it does; it may be a coroutine function.
        within: The bound, in seconds: only a test that fails waits so long.

    Raises:
        AssertionError: It does not hold in time.

    >>> asyncio.run(eventually(lambda: True))
    """
    deadline = time.monotonic() + within
    while True:
        holds = predicate()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        if time.monotonic() >= deadline:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.01)
