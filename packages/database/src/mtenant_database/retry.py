"""Attempts: a block that runs again when transactions were in each other's way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, TypeVar

from mtenant_database.errors import SerializationConflict

T = TypeVar("T")

_FIRST_WAIT: Final = 0.02  # seconds; doubled each time, and the wait is anything up to it
_LONGEST_WAIT: Final = 1.0


class Attempt:
    """One attempt, to enter around the transaction: `with attempt:`.

    It swallows a `SerializationConflict` (40001, 40P01) as long as attempts are left. It stands outside of
    the transaction, because the conflict may come from its COMMIT.

    Attributes:
        number: 1 for the first.
        failed: Whether it is to be made again.
    """

    def __init__(self, number: int, most: int) -> None:
        self.number = number
        self.failed = False
        self._last = number == most

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.failed = isinstance(exc, SerializationConflict) and not self._last
        return self.failed


async def attempts(most: int) -> AsyncIterator[Attempt]:
    """Yield attempts until one succeeds, with full jitter between them.

    Raises:
        ValueError: `most` is less than 1.
    """
    if most < 1:
        raise ValueError(f"{most} attempts: it takes at least one")
    for number in range(1, most + 1):
        attempt = Attempt(number, most)
        yield attempt
        if not attempt.failed:
            return
        # Two that failed together must not meet again: each waits for a time of its own.
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (number - 1))
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret


async def run(
    begin: Callable[[], AbstractAsyncContextManager[Any]],
    function: Callable[..., Awaitable[T]],
    args: Sequence[Any],
    retry: int,
) -> T:
    """Return what `function(tx, *args)` returns in a transaction that was committed.

    Args:
        begin: Returns a new transaction to enter.
        function: What runs inside; again after a `SerializationConflict`.
        args: Its arguments after the transaction.
        retry: How often it may run again.
    """
    async for attempt in attempts(retry + 1):
        with attempt:
            async with begin() as tx:
                return await function(tx, *args)
    raise AssertionError("the last attempt raises, or returns")
