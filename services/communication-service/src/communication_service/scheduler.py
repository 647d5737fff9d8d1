"""The scheduler: fires reminders, and makes mails that are due. Any number may run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from communication_service.handlers.scheduled import ScheduledEmails
from communication_service.handlers.tasks import Tasks
from communication_service.queries import schedule
from communication_service.queries.schedule import Due
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import Chassis
from mtenant_config import ConfigError, Problem
from mtenant_database import TenantNotFound, TenantNotReady, TenantSuspended
from mtenant_errors import AppError
from mtenant_logger import get_logger

POLL: Final = 1.0
"""Seconds between two looks."""

ATTEMPTS: Final = 48
"""How often a mail is tried whose reader cannot be looked up: for about a day and a half."""

_BATCH: Final = 50
_LONGEST_WAIT: Final = 3600.0
_UNTIL_OPEN: Final = timedelta(minutes=10)

log = get_logger(__name__)


class Scheduler:
    """Does what is due.

    It looks without a lock, and claims each thing in the transaction that does it, by a lock that others
    pass by. So nothing is done twice, and what a process that died was doing is done by the next look.

    Args:
        chassis: Of the running app.
        own: This service's settings.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._tasks = Tasks(chassis, own)
        self._emails = ScheduledEmails(chassis, own)

    async def turn(self) -> int:
        """Do what is due; return how much of it this one did."""
        due = list(await self._look())
        random.shuffle(due)  # several that look at once do not begin with the same
        done = [await self._attempt(one) for one in due]
        return sum(done)

    async def run(self) -> None:
        """Do so until cancelled."""
        while True:
            done = 0
            try:
                done = await self.turn()
            except AppError as exc:
                log.warning("the schedule cannot be read, later again", code=exc.code)
            except Exception as exc:
                log.error("the schedule cannot be read, later again", err=exc)
            if not done:
                await asyncio.sleep(POLL)

    async def _look(self) -> Sequence[Due]:
        async with self._chassis.database.shared().transaction() as tx:
            await schedule.admit(tx)
            return await schedule.due(tx, _BATCH)

    async def _attempt(self, one: Due) -> bool:
        try:
            if one.kind == "reminder":
                return await self._tasks.remind(one.tenant, one.id)
            return await self._emails.dispatch(one.tenant, one.id)
        except TenantNotFound:
            await self._forget(one)
        except (TenantSuspended, TenantNotReady) as exc:
            # It was not tried: a mail must not be given up for how long its tenant was away.
            log.info("what is due waits for its tenant", id=str(one.id), code=exc.code)
            await self._wait(one)
        except Exception as exc:  # one that fails must not stop those behind it
            code = exc.code if isinstance(exc, AppError) else type(exc).__name__
            log.warning("what is due has to wait", kind=one.kind, id=str(one.id), code=code)
            if one.kind == "email" and one.attempts >= ATTEMPTS:
                await self._emails.give_up(one.tenant, one.id, code)
            else:
                await self._put_off(one)
        return False

    async def _put_off(self, one: Due) -> None:
        wait = min(_LONGEST_WAIT, 2.0**one.attempts)
        async with self._chassis.database.shared().transaction() as tx:
            await schedule.admit(tx)
            await schedule.put_off(tx, one.id, timedelta(seconds=wait))

    async def _wait(self, one: Due) -> None:
        async with self._chassis.database.shared().transaction() as tx:
            await schedule.admit(tx)
            await schedule.wait(tx, one.id, _UNTIL_OPEN)

    async def _forget(self, one: Due) -> None:
        async with self._chassis.database.shared().transaction() as tx:
            await schedule.admit(tx)
            await schedule.remove(tx, one.id)


@asynccontextmanager
async def scheduling(
    chassis: Chassis, own: CommunicationServiceSettings
) -> AsyncIterator[Scheduler]:
    """Run a scheduler as long as the app runs.

    Raises:
        ConfigError: No other service would answer: auth-service would not know who asks.
    """
    if chassis.settings.auth.client_secret is None:
        why = "missing, expected the secret by which auth-service knows this service"
        raise ConfigError([Problem("SERVICE_CLIENT_SECRET", "missing", why)])
    scheduler = Scheduler(chassis, own)
    task = asyncio.create_task(scheduler.run(), name="communication-service scheduler")
    try:
        yield scheduler
    finally:
        task.cancel()  # what it was doing is rolled back, and done by whoever looks next
        await asyncio.wait({task})
