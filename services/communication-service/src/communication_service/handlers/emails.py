"""Mails: made, queued with the commit, sent by the chassis's worker, and told when they were.

A mail for later is a row without a text. When it is due, its reader is looked up, the template as it is then
is filled in, and in one transaction the mail is queued and its place in the schedule given up.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from communication_service.domain import links, text
from communication_service.domain.activity import Occurrence, Related
from communication_service.domain.email import Email
from communication_service.domain.errors import (
    AddressMissing,
    EmailNotFound,
    RecipientUnsubscribed,
    RelatedNotFound,
    RenderingFailed,
    TemplateInvalid,
    TemplateNotFound,
    ValuesInvalid,
)
from communication_service.domain.event import EmailSent
from communication_service.domain.identity import new_id
from communication_service.domain.template import Rendered, Value, render
from communication_service.domain.tracking import Purpose, Token
from communication_service.handlers.activities import Activities
from communication_service.handlers.directory import Directory
from communication_service.queries import email as rows
from communication_service.queries import schedule
from communication_service.queries import template as templates
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Mail
from mtenant_chassis.mail import MailOutcome
from mtenant_database import Transaction, Verbs

_ADDRESS: Final = TypeAdapter(text.Email)
_PATHS: Final[dict[Purpose, str]] = {
    "open": "/t/o.gif",
    "click": "/t/c",
    "unsubscribe": "/t/u",
}

# What is not among these may be mended: a service that is away, or that does not know us yet.
_FINAL: Final = (
    *(RelatedNotFound, AddressMissing, RecipientUnsubscribed),
    *(TemplateNotFound, TemplateInvalid, ValuesInvalid, RenderingFailed),
)


@dataclass(frozen=True)
class Order:
    """A mail that a person wants to be sent now.

    Attributes:
        recipient: The address; None: the contact's.
        related: The contact, company and deal that it is about, at most one of each.
        template_id: What it is made from; None: `content`.
        values: For the template.
        content: What it says, without a template.
        tracked: Whether opens and clicks are to be told.
    """

    recipient: str | None
    related: Related
    template_id: UUID | None
    values: Mapping[str, Value]
    content: Rendered | None
    tracked: bool


@dataclass(frozen=True)
class Plan:
    """A mail that this service itself wants to be sent, now or later.

    Attributes:
        template: The key of its template.
        values: For the template.
        transactional: Whether somebody has to know.
        created_by: Who caused it.
        after: How long to wait.
        recipient: The address, if it is known already.
        contact_id: To which contact.
        user_id: To which user.
        deal_id: About which deal.
    """

    template: str
    values: Mapping[str, Value]
    transactional: bool
    created_by: str
    after: timedelta = field(default=timedelta(0))
    recipient: str | None = None
    contact_id: UUID | None = None
    user_id: str | None = None
    deal_id: UUID | None = None


class Emails:
    """Sends mails.

    Args:
        chassis: Of the running app.
        own: Says whether, and how, mails are tracked.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._own = own
        self._signer = own.signer

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
            "tracked": order.tracked and self._signer is not None,
            "activity_id": activity,
            "created_by": audit.actor,
            **self._said(email, said),
        }
        made = await rows.add(tx, values)
        await self._log(tx, audit, made, related)
        await self._hand_over(tx, made)
        chosen = {"template_id": values["template_id"], "contact_id": contact}
        await audit.record(tx, "email.queued", "email", email, after=chosen)
        return made

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

    async def ended(self, tx: Transaction, outcome: MailOutcome) -> None:
        """Note what became of a mail, and tell others, in the transaction in which the chassis notes it."""
        if outcome.error is not None:
            await rows.failed(tx, outcome.intent, outcome.attempts, outcome.error)
            return
        one = await rows.sent(tx, outcome.intent, outcome.attempts)
        if one is not None:
            await self._chassis.outbox.add(tx, EmailSent(str(one.id), **about(one)), key=one.id)

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
                "tracked": not email.transactional and self._signer is not None,
                "activity_id": activity,
                **self._said(email.id, said),
            },
        )
        trail = AuditTrail(self._chassis.settings.service, email.created_by)
        chosen = {"template_id": template.id, "contact_id": email.contact_id}
        await trail.record(tx, "email.queued", "email", email.id, after=chosen)
        if activity is not None:
            related = Related(_some(email.contact_id), (), _some(email.deal_id))
            await self._log(tx, trail, queued, related)
        await self._hand_over(tx, queued)

    def _said(self, email: UUID, said: Rendered) -> dict[str, Any]:
        return {
            "subject": said.subject,
            "body_text": said.text,
            "body_html": said.html,
            "message_id": self._chassis.mailer.message_id(email),
        }

    async def _log(
        self, tx: Transaction, audit: AuditTrail, email: Email, related: Related
    ) -> None:
        what = Occurrence(
            kind="email",
            subject=(email.subject or "")[:200],
            body=(email.body_text or "")[:20_000],
            direction="outbound",
            occurred_at=datetime.now(UTC),
            related=related,
            email_id=email.id,
        )
        await Activities(self._chassis).log(tx, audit, what, email.activity_id)

    async def _hand_over(self, tx: Transaction, email: Email) -> None:
        """Queue the mail as it is sent: with the tracker's links, which are stored nowhere else."""
        body, page, unsubscribe = email.body_text or "", email.body_html, None
        tenant = tx.tenant or ""
        if not email.transactional and self._signer is not None:
            unsubscribe = self._url("unsubscribe", tenant, email.id)
            body += f"\n\n-- \nNo more mails like this: {unsubscribe}\n"
        if page is not None:
            if email.tracked:
                page, urls = links.track(page, lambda n: self._url("click", tenant, email.id, n))
                await rows.add_links(tx, email.id, urls)
                page += _picture(self._url("open", tenant, email.id))
            if unsubscribe is not None:
                page += _footer(unsubscribe)
        mail = Mail(email.recipient or "", email.subject or "", body, page, unsubscribe)
        await self._chassis.mailer.add(tx, mail, intent=email.id)

    def _url(self, purpose: Purpose, tenant: str, email: UUID, link: int = 0) -> str:
        if self._signer is None:
            raise RuntimeError("a mail without a signer has no links of ours")
        token = self._signer.write(Token(purpose, tenant, email, link))
        # In the query, which no access log of ours has.
        return f"{self._own.public_url}{_PATHS[purpose]}?t={token}"


def about(email: Email) -> dict[str, str | None]:
    """Return what events say of a mail besides its id: ids, and nothing by which its reader is reached."""
    return {
        "template_id": _text(email.template_id),
        "contact_id": _text(email.contact_id),
        "deal_id": _text(email.deal_id),
        "user_id": email.user_id,
    }


def known_address(address: str | None) -> str:
    """Return an address in its stored spelling.

    Raises:
        AddressMissing: It is none that a mail could go to.
    """
    try:
        return _ADDRESS.validate_python(address)
    except ValidationError:
        raise AddressMissing from None


def _text(which: UUID | None) -> str | None:
    return None if which is None else str(which)


def _some(which: UUID | None) -> Sequence[UUID]:
    return () if which is None else (which,)


def _picture(url: str) -> str:
    return f'<img src="{html.escape(url)}" width="1" height="1" alt="">'


def _footer(url: str) -> str:
    return f'<p><small><a href="{html.escape(url)}">No more mails like this</a></small></p>'
