"""Patience: how something is tried again that a lock or a broken connection stood in the way of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import backoff

from mtenant_database.migrate.errors import MigrationFailed, SchemaBusy
from mtenant_database.migrate.settings import MigrateSettings

T = TypeVar("T")


class Locked(Exception):
    """Another process has the schema's lock."""


class Again(Exception):
    """An attempt failed by what may be gone in a moment; `error` is what it is if it is not."""

    def __init__(self, error: MigrationFailed) -> None:
        super().__init__(str(error))
        self.error = error


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    settings: MigrateSettings,
    where: str,
    on_retry: Callable[[], object] = lambda: None,
) -> T:
    """Await something again while locks stand in its way, with jittered pauses, bounded.

    Args:
        attempt: What to try. It leaves nothing behind when it fails.
        settings: How long, and how often.
        where: What the error names.
        on_retry: Called before each pause for an `Again`.

    Raises:
        SchemaBusy: It was `Locked` for longer than the settings say.
        MigrationFailed: It failed by `Again` as often as the settings allow.
    """

    def note(details: object) -> None:
        on_retry()

    wait = settings.lock_wait.total_seconds()
    queue = backoff.on_exception(backoff.constant, Locked, interval=0.1, max_time=wait, logger=None)
    again = backoff.on_exception(
        backoff.expo,
        Again,
        max_tries=settings.attempts,
        factor=0.1,
        max_value=10,
        logger=None,
        on_backoff=note,
    )

    async def call() -> T:  # backoff wants to see a coroutine function
        return await attempt()

    try:
        return await again(queue(call))()
    except Locked:
        raise SchemaBusy(
            where=where, problem=f"another process has migrated it for {wait:g} s and longer"
        ) from None
    except Again as exc:
        raise exc.error from exc.error.__cause__
