"""The worker: imports that are jobs, and those that a process which died has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from contact_service.handlers.import_run import ImportRun
from contact_service.queries import import_queue
from contact_service.queries.import_queue import Due
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import Chassis
from mtenant_database import QueryTimeout, TenantNotFound, TenantSuspended, TransactionTimeout
from mtenant_errors import AppError
from mtenant_logger import get_logger

POLL: Final = 0.5
"""Seconds between two looks."""

ATTEMPTS: Final = 10
"""How often an import is begun that does not go on at all."""

STOP: Final = 10.0
"""Seconds that a batch has to end when the app stops."""

log = get_logger(__name__)


class Worker:
    """Works on imports that nobody works on, one after another. Any number may run.

    Args:
        chassis: Of the running app.
        own: This service's settings.
    """

    def __init__(self, chassis: Chassis, own: ContactServiceSettings) -> None:
        self._chassis = chassis
        self._own = own
        self.stopping = False

    async def turn(self) -> bool:
        """Work on one import to its end; tell whether there was one."""
        async with self._chassis.database.shared().transaction() as tx:
            await import_queue.admit(tx)
            due = await import_queue.claim(tx)
        if due is None:
            return False
        try:
            await self._work(due)
        except TenantNotFound:
            await self._remove(due)
        except TenantSuspended:
            await self._wait(due)  # until the tenant is back
        except AppError as exc:
            if _is_elsewhere(exc):
                with suppress(AppError):  # it may be the database that is away
                    await self._wait(due)
            raise
        return True

    async def _work(self, due: Due) -> None:
        run = ImportRun(self._chassis, self._own, self._chassis.tenant(due.tenant))
        if due.attempts > ATTEMPTS:
            log.error("an import was given up", import_id=str(due.id), tenant_id=due.tenant)
            await run.fail(due.id, f"given up after {ATTEMPTS} attempts")
            return
        while True:
            found = await run.step(due.id)
            if found is None or found.status != "running":
                break
            if self.stopping:
                await run.let_go(due.id)
                return
        if found is None:
            await self._remove(due)

    async def _remove(self, due: Due) -> None:
        async with self._chassis.database.shared().transaction() as tx:
            await import_queue.admit(tx)
            await import_queue.remove(tx, due.id)

    async def _wait(self, due: Due) -> None:
        """Have it looked at again when the lease ends, as if it had not been tried."""
        async with self._chassis.database.shared().transaction() as tx:
            await import_queue.admit(tx)
            await import_queue.untried(tx, due.id)

    async def run(self) -> None:
        """Do so until it is to stop; whatever is left is found by the next one."""
        while not self.stopping:
            try:
                busy = await self.turn()
            except AppError as exc:
                log.warning("an import did not go on, later again", err=exc)
                busy = False
            except Exception as exc:
                log.error("an import failed, later again", err=exc)
                busy = False
            if not busy:
                await asyncio.sleep(POLL)


def _is_elsewhere(exc: AppError) -> bool:
    """Tell whether it is nothing of the file: rows that take too long would do so again."""
    is_slow = isinstance(exc, QueryTimeout | TransactionTimeout)
    return exc.remote or (exc.retryable and not is_slow)


@asynccontextmanager
async def working(chassis: Chassis, own: ContactServiceSettings) -> AsyncIterator[Worker]:
    """Run a worker as long as the app runs; the batch that it is at is ended."""
    worker = Worker(chassis, own)
    task = asyncio.create_task(worker.run(), name="contact-service worker")
    try:
        yield worker
    finally:
        worker.stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP):
                await asyncio.wait({task})
        task.cancel()
        await asyncio.wait({task})
