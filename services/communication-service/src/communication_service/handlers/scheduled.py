"""Mails for later: a row without a text, until it is due.

Then its reader is looked up, the template as it is by then is filled in, and in one transaction the mail is queued
and its place in the schedule given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from communication_service.domain import text
from communication_service.domain.activity import Related
from communication_service.domain.email import Email
from communication_service.domain.errors import (
    AddressMissing,
    RecipientUnsubscribed,
    RelatedNotFound,
    RenderingFailed,
    TemplateInvalid,
    TemplateNotFound,
    ValuesInvalid,
)
from communication_service.domain.identity import new_id
from communication_service.domain.order import Plan
from communication_service.domain.template import render
from communication_service.handlers.directory import Directory
from communication_service.handlers.outgoing import Outgoing, known_address
from communication_service.queries import email as rows
from communication_service.queries import schedule
from communication_service.queries import template as templates
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import Transaction

# What is not among these may be mended: a service that is away, or that does not know us yet.
_FINAL: Final = (
    *(RelatedNotFound, AddressMissing, RecipientUnsubscribed),
    *(TemplateNotFound, TemplateInvalid, ValuesInvalid, RenderingFailed),
)


class ScheduledEmails:
    """Sends mails when they are due.

    Args:
        chassis: Of the running app.
        own: Says whether, and how, mails are tracked.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._outgoing = Outgoing(chassis, own)

    async def plan(self, tx: Transaction, plan: Plan) -> UUID | None:
        """Have a mail sent later; None if the tenant has archived its template."""
        if await templates.by_key(tx, plan.template) is None:
            return None
        email = new_id()
        nothing = dict.fromkeys(
            ["template_id", "template_version", "subject", "body_text", "body_html"]
        )
        await rows.add(
            tx,
            {
                **nothing,
                "id": email,
                "status": "scheduled",
                "recipient": plan.recipient,
                "contact_id": plan.contact_id,
                "company_id": None,
                "deal_id": plan.deal_id,
                "user_id": plan.user_id,
                "template_key": plan.template,
                "template_values": dict(plan.values),
                "transactional": plan.transactional,
                "tracked": False,
                "activity_id": None,
                "message_id": None,
                "created_by": plan.created_by,
            },
        )
        await schedule.put_after(tx, email, "email", plan.after)
        return email

    async def dispatch(self, tenant: str, email: UUID) -> bool:
        """Make and queue a mail that is due; tell whether anything was done.

        Raises:
            AppError: Whoever knows the reader cannot be asked; it is for another time.
        """
        handle = self._chassis.tenant(tenant)
        found = await rows.get(handle, email)
        try:
            # No transaction is open while another service thinks.
            address, name = await self._reader(tenant, found)
            error = None
        except _FINAL as exc:
            address, name, error = "", "", exc.code
        async with handle.transaction() as tx:
            if not await schedule.claim(tx, email):
                return False
            found = await rows.lock(tx, email)
            if found is not None and found.status == "scheduled":
                try:
                    if error is None:
                        async with tx.transaction():
                            await self._queue(tx, found, address, name)
                except _FINAL as exc:
                    error = exc.code
                if error is not None:
                    await rows.failed(tx, email, 0, error)
            await schedule.remove(tx, email)
        return True

    async def give_up(self, tenant: str, email: UUID, why: str) -> None:
        """Note that a scheduled mail will not be sent."""
        async with self._chassis.tenant(tenant).transaction() as tx:
            if await schedule.claim(tx, email):
                await rows.failed(tx, email, 0, why)
                await schedule.remove(tx, email)

    async def _reader(self, tenant: str, email: Email | None) -> tuple[str, str]:
        if email is None or email.status != "scheduled":
            return "", ""
        directory = Directory(self._chassis, tenant)
        if email.recipient is not None:
            return known_address(email.recipient), ""
        if email.contact_id is not None:
            person = await directory.contact(email.contact_id)
        else:
            person = await directory.user(email.user_id or "")
        return known_address(person.email), person.name

    async def _queue(self, tx: Transaction, email: Email, address: str, name: str) -> None:
        if not email.transactional and await rows.is_suppressed(tx, address):
            raise RecipientUnsubscribed
        template = await templates.by_key(tx, email.template_key or "")
        if template is None:
            raise TemplateNotFound
        source = template.source
        known: dict[str, Any] = {"contact_name": name, **email.template_values}
        declared = {one.name for one in source.variables}
        # Names of people and deals stand in subjects; whoever chose them did not think of that.
        values = {
            key: text.as_one_line(value) if isinstance(value, str) else value
            for key, value in known.items()
            if key in declared
        }
        said = await asyncio.to_thread(render, source, values)
        activity = None if email.transactional else new_id()
        queued = await rows.queue(
            tx,
            {
                "id": email.id,
                "recipient": address,
                "template_id": template.id,
                "template_version": template.version,
                "template_values": values,
                "tracked": not email.transactional and self._outgoing.can_track,
                "activity_id": activity,
                **self._outgoing.columns(email.id, said),
            },
        )
        trail = AuditTrail(self._chassis.settings.service, email.created_by)
        chosen = {"template_id": template.id, "contact_id": email.contact_id}
        await trail.record(tx, "email.queued", "email", email.id, after=chosen)
        if activity is not None:
            related = Related(_some(email.contact_id), (), _some(email.deal_id))
            await self._outgoing.log(tx, trail, queued, related)
        await self._outgoing.hand_over(tx, queued)


def _some(which: UUID | None) -> Sequence[UUID]:
    return () if which is None else (which,)
