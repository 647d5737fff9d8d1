"""Outgoing: what every mail gets on its way out: a Message-ID, a place in timelines, the tracker's links."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from communication_service.domain import links, text
from communication_service.domain.activity import Occurrence, Related
from communication_service.domain.email import Email
from communication_service.domain.errors import AddressMissing
from communication_service.domain.template import Rendered
from communication_service.domain.tracking import Purpose, Token
from communication_service.handlers.activities import Activities
from communication_service.queries import email as rows
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Mail
from mtenant_database import Transaction

_ADDRESS: Final = TypeAdapter(text.Email)
_PATHS: Final[dict[Purpose, str]] = {
    "open": "/t/o.gif",
    "click": "/t/c",
    "unsubscribe": "/t/u",
}


class Outgoing:
    """Sees mails off.

    Args:
        chassis: Of the running app.
        own: Says whether, and how, mails are tracked.

    Attributes:
        can_track: Whether readers can reach this service.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._own = own
        self._signer = own.signer
        self.can_track = self._signer is not None

    def columns(self, email: UUID, said: Rendered) -> dict[str, Any]:
        """Return what a mail says, by the names of its columns."""
        return {
            "subject": said.subject,
            "body_text": said.text,
            "body_html": said.html,
            "message_id": self._chassis.mailer.message_id(email),
        }

    async def log(self, tx: Transaction, audit: AuditTrail, email: Email, related: Related) -> None:
        """Note in timelines that a mail went out."""
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

    async def hand_over(self, tx: Transaction, email: Email) -> None:
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


def known_address(address: str | None) -> str:
    """Return an address in its stored spelling.

    Raises:
        AddressMissing: It is none that a mail could go to.
    """
    try:
        return _ADDRESS.validate_python(address)
    except ValidationError:
        raise AddressMissing from None


def _picture(url: str) -> str:
    return f'<img src="{html.escape(url)}" width="1" height="1" alt="">'


def _footer(url: str) -> str:
    return f'<p><small><a href="{html.escape(url)}">No more mails like this</a></small></p>'
