"""Mails: made and queued with the commit, sent by the chassis's worker, and told when they were."""

from __future__ import annotations

import asyncio
from uuid import UUID

from communication_service.domain.activity import Related
from communication_service.domain.email import Email
from communication_service.domain.errors import (
    EmailNotFound,
    RecipientUnsubscribed,
    TemplateNotFound,
)
from communication_service.domain.event import EmailSent
from communication_service.domain.identity import new_id
from communication_service.domain.order import Order
from communication_service.domain.template import render
from communication_service.handlers.directory import Directory
from communication_service.handlers.outgoing import Outgoing, known_address
from communication_service.queries import email as rows
from communication_service.queries import template as templates
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.mail import MailOutcome
from mtenant_database import Transaction, Verbs


class Emails:
    """Sends mails that people want.

    Args:
        chassis: Of the running app.
        own: Says whether, and how, mails are tracked.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._outgoing = Outgoing(chassis, own)

    async def get(self, on: Verbs, email: UUID) -> Email:
        """Return a mail.

        Raises:
            EmailNotFound: There is none.
        """
        found = await rows.get(on, email)
        if found is None:
            raise EmailNotFound
        return found

    async def send(self, tx: Transaction, audit: AuditTrail, order: Order) -> Email:
        """Queue a mail; it leaves with the commit.

        Raises:
            RelatedNotFound: Somebody or something that it is about is not there.
            AddressMissing: Nobody knows where to.
            RecipientUnsubscribed: Whoever reads that address wants no more.
            TemplateNotFound, ValuesInvalid, RenderingFailed: There is nothing to say.
        """
        directory = Directory(self._chassis, tx.tenant or "")
        related, address = order.related, order.recipient
        contact = related.contact_ids[0] if related.contact_ids else None
        if contact is not None:
            person = await directory.contact(contact)
            address = address or person.email
        await directory.check(Related((), related.company_ids, related.deal_ids))
        recipient = known_address(address)
        if await rows.is_suppressed(tx, recipient):
            raise RecipientUnsubscribed
        template = None
        said = order.content
        if order.template_id is not None:
            template = await templates.get(tx, order.template_id)
            if template is None:
                raise TemplateNotFound
            said = await asyncio.to_thread(render, template.source, order.values)
        if said is None:
            raise TemplateNotFound
        email, activity = new_id(), new_id()
        values = {
            "id": email,
            "status": "queued",
            "recipient": recipient,
            "contact_id": contact,
            "company_id": related.company_ids[0] if related.company_ids else None,
            "deal_id": related.deal_ids[0] if related.deal_ids else None,
            "user_id": None,
            "template_id": None if template is None else template.id,
            "template_version": None if template is None else template.version,
            "template_key": None,
            "template_values": dict(order.values),
            "transactional": False,
            "tracked": order.tracked and self._outgoing.can_track,
            "activity_id": activity,
            "created_by": audit.actor,
            **self._outgoing.columns(email, said),
        }
        made = await rows.add(tx, values)
        await self._outgoing.log(tx, audit, made, related)
        await self._outgoing.hand_over(tx, made)
        chosen = {"template_id": values["template_id"], "contact_id": contact}
        await audit.record(tx, "email.queued", "email", email, after=chosen)
        return made

    async def ended(self, tx: Transaction, outcome: MailOutcome) -> None:
        """Note what became of a mail, and tell others, in the transaction in which the chassis notes it."""
        if outcome.error is not None:
            await rows.failed(tx, outcome.intent, outcome.attempts, outcome.error)
            return
        one = await rows.sent(tx, outcome.intent, outcome.attempts)
        if one is not None:
            await self._chassis.outbox.add(tx, EmailSent(str(one.id), **about(one)), key=one.id)


def about(email: Email) -> dict[str, str | None]:
    """Return what events say of a mail besides its id: ids, and nothing by which its reader is reached."""
    return {
        "template_id": _text(email.template_id),
        "contact_id": _text(email.contact_id),
        "deal_id": _text(email.deal_id),
        "user_id": email.user_id,
    }


def _text(which: UUID | None) -> str | None:
    return None if which is None else str(which)
