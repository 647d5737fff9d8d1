"""MailWorker: sends what was wanted, until it is sent or cannot be."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from mtenant_chassis.mail.mail import Mail
from mtenant_chassis.mail.transport import MailDelayed, MailRefused, Transport
from mtenant_database import (
    Database,
    TenantNotFound,
    TenantNotReady,
    TenantSuspended,
    Transaction,
)
from mtenant_errors import AppError

POLL: Final = 1.0
"""Seconds between two looks at the queue when nobody woke the worker."""

LEASE: Final = timedelta(minutes=2)
"""For how long a mail is one worker's. One that dies with it is sent by another after that."""

ATTEMPTS: Final = 12
"""How often a mail is tried: with the waits between, for about a day."""

PATIENCE: Final = 30.0
"""Seconds that handing over one mail may take."""

STOP: Final = 10.0
"""Seconds that a worker which stops waits for the mail that it hands over."""

_BATCH: Final = 10
_FIRST_WAIT: Final = 5.0
_LONGEST_WAIT: Final = 4 * 3600.0

_ADMIT: Final = "select set_config('mtenant.mailer', 'on', true)"
_CLAIM: Final = (
    "update shared.mail_queue set due_at = now() + %s, attempts = attempts + 1 where id in"
    " (select id from shared.mail_queue where service = %s and due_at <= now()"
    " order by due_at limit %s for update skip locked) returning id, tenant, attempts"
)
_DONE: Final = "delete from shared.mail_queue where id = %s"
_LATER: Final = "update shared.mail_queue set due_at = now() + %s where id = %s"
_UNTRIED: Final = "update shared.mail_queue set attempts = attempts - 1 where id = %s"
_GIVE_BACK: Final = (
    "update shared.mail_queue q set due_at = now(), attempts = q.attempts - 1"
    " from unnest(%s::uuid[], %s::integer[]) as mine (id, attempts)"
    " where q.id = mine.id and q.attempts = mine.attempts"
)
_READ: Final = (
    "select recipient, subject, body_text, body_html, unsubscribe, message_id, created_at from mail_intents"
    " where id = %s and sent_at is null and failed_at is null"
)
_SENT: Final = (
    "update mail_intents set sent_at = now(), body_text = null, body_html = null,"
    " unsubscribe = null where id = %s and sent_at is null and failed_at is null"
)
_FAILED: Final = (
    "update mail_intents set failed_at = now(), error = %s, body_text = null, body_html = null,"
    " unsubscribe = null where id = %s and sent_at is null and failed_at is null"
)

_logger = logging.getLogger("mtenant_chassis.mail")


@dataclass(frozen=True)
class _Claimed:
    id: UUID
    tenant: str
    attempts: int


@dataclass(frozen=True)
class _Intent:
    recipient: str
    subject: str
    body_text: str
    body_html: str | None
    unsubscribe: str | None
    message_id: str
    created_at: datetime


@dataclass(frozen=True)
class MailOutcome:
    """What became of a mail.

    Attributes:
        intent: Its id, as `Mailer.add` returned it.
        error: Why it was given up, without the address; None if the server has taken it.
        attempts: How often it was tried.
    """

    intent: UUID
    error: str | None
    attempts: int


class MailWorker:
    """Sends the mails of one service; `async with` it. Any number may run.

    A mail is claimed, sent, and noted as sent. A crash between the last two sends it again under the same
    message id: at least once, and the second one is known for what it is.

    Args:
        database: Connected.
        service: Whose mails.
        transport: Where they go.
        sender: The From address.
        mailed: Called when a mail was sent or given up, in the transaction that notes it, once. What it
            raises puts the note off, and a mail that was sent is sent again, `ATTEMPTS` times at most.
    """

    def __init__(
        self,
        database: Database,
        *,
        service: str,
        transport: Transport,
        sender: str,
        mailed: Callable[[Transaction, MailOutcome], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._service = service
        self._transport = transport
        self._sender = sender
        self._mailed = mailed
        self._woken = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.sent = self.failed = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="mtenant-chassis mail worker")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the mail that is being sent, and stop."""
        self._stopping = True
        self.wake()
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=STOP)
        finally:
            task.cancel()
            await asyncio.wait({task})

    def wake(self) -> None:
        """Say that a mail was added, and that its transaction is committed."""
        self._woken.set()

    def numbers(self) -> dict[str, int | float]:
        """Return the counters, for metrics."""
        return {"mails_sent_total": self.sent, "mails_failed_total": self.failed}

    async def _run(self) -> None:
        while not self._stopping:
            try:
                busy = await self.turn()
            except AppError as exc:
                _logger.warning("the mail queue cannot be read, later again: %s", exc.code)
                busy = False
            except Exception:
                _logger.exception("the mail queue cannot be read, later again")
                busy = False
            if not busy and not self._stopping:
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._woken.wait()
                self._woken.clear()

    async def turn(self) -> bool:
        """Send some mails that are due; tell whether there were any."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LEASE.total_seconds() / 2
        claimed = await self._claim()
        for number, one in enumerate(claimed):
            if self._stopping or loop.time() > end:
                await self._give_back(claimed[number:])
                break
            try:
                await self._handle(one)
            except Exception as exc:  # a database that hesitates must not hold up those behind it
                why = exc.code if isinstance(exc, AppError) else type(exc).__name__
                _logger.warning("mail %s cannot be seen to, later again: %s", one.id, why)
                with suppress(AppError):  # else its lease is its wait
                    await self._note(_LATER, [_wait(one.attempts), one.id])
        return bool(claimed)

    async def _claim(self) -> list[_Claimed]:
        async with self._database.shared().transaction() as tx:
            await tx.queue(_ADMIT)
            return await tx.fetch_all(_CLAIM, [LEASE, self._service, _BATCH], row=_Claimed)

    async def _handle(self, one: _Claimed) -> None:
        tenant = self._database.tenant(one.tenant)
        try:
            intent = await tenant.fetch_optional(_READ, [one.id], row=_Intent)
        except TenantNotFound:
            intent = None  # the tenant is gone, and its mails with it
        except (TenantSuspended, TenantNotReady) as exc:
            # Its lease is its wait; the mails of other tenants behind it have none.
            _logger.info("mail %s waits for its tenant: %s", one.id, exc.code)
            await self._note(_UNTRIED, [one.id])
            return
        if intent is None:
            await self._note(_DONE, [one.id])
            return
        if one.attempts > ATTEMPTS:  # it was handed over, and that could never be noted
            await self._give_up(one, f"after {ATTEMPTS} attempts: no note of them could be made")
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._transport.send(self._message(intent))
        except MailRefused as exc:
            await self._give_up(one, str(exc))
        except MailDelayed as exc:
            await self._delay(one, str(exc))
        except Exception as exc:  # one that nobody foresaw must not stop those behind it
            await self._delay(one, type(exc).__name__)
        else:
            self.sent += 1
            await self._end(one, None)

    def _message(self, intent: _Intent) -> EmailMessage:
        mail = Mail(
            intent.recipient, intent.subject, intent.body_text, intent.body_html, intent.unsubscribe
        )
        return mail.message(
            sender=self._sender, message_id=intent.message_id, date=intent.created_at
        )

    async def _delay(self, one: _Claimed, why: str) -> None:
        if one.attempts >= ATTEMPTS:
            await self._give_up(one, f"after {one.attempts} attempts: {why}")
            return
        _logger.warning("mail %s waits, attempt %d: %s", one.id, one.attempts, why)
        await self._note(_LATER, [_wait(one.attempts), one.id])

    async def _give_up(self, one: _Claimed, why: str) -> None:
        self.failed += 1
        _logger.error("mail %s is given up: %s", one.id, why)
        await self._end(one, why)

    async def _end(self, one: _Claimed, error: str | None) -> None:
        async with self._database.tenant(one.tenant).transaction() as tx:
            # A worker whose lease ran out meanwhile finds that another one has noted it.
            noted = await tx.execute(
                *(_SENT, [one.id]) if error is None else (_FAILED, [error, one.id])
            )
            if noted.rows_affected and self._mailed is not None:
                await self._mailed(tx, MailOutcome(one.id, error, one.attempts))
        await self._note(_DONE, [one.id])

    async def _give_back(self, untried: list[_Claimed]) -> None:
        """Let others send them now: for a restart of the service nobody should wait for a lease.

        By the attempts a mail is left alone that is another's by now, our lease having run out.
        """
        await self._note(
            _GIVE_BACK, [[one.id for one in untried], [one.attempts for one in untried]]
        )

    async def _note(self, statement: str, params: list[object]) -> None:
        async with self._database.shared().transaction() as tx:
            await tx.queue(_ADMIT)
            await tx.execute(statement.encode(), params)


def _wait(attempts: int) -> timedelta:
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempts)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - no secret
