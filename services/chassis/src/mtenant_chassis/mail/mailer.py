"""Mailer: writes down that a mail is to be sent, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID, uuid4

from mtenant_chassis.mail.mail import Mail
from mtenant_database import TenantRequired, Transaction

_INTENT: Final = (
    "insert into mail_intents (id, service, recipient, subject, body_text, body_html, message_id,"
    " unsubscribe) values (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_QUEUE: Final = "insert into shared.mail_queue (id, service, tenant) values (%s, %s, %s)"


class Mailer:
    """Adds mails to transactions; a `MailWorker` sends them once they have committed.

    Args:
        service: Whose mails they are.
        domain: What stands behind the @ of message ids.
        wake: Called when the transaction of a mail was committed.
    """

    def __init__(self, service: str, *, domain: str, wake: Callable[[], object]) -> None:
        self._service = service
        self._domain = domain
        self._wake = wake

    async def add(self, tx: Transaction, mail: Mail, *, intent: UUID | None = None) -> UUID:
        """Add a mail; it leaves after the commit, and never without.

        Args:
            tx: The open transaction of a tenant.
            mail: What to send.
            intent: The id that the mail is known by, if the caller has chosen one: it is what
                `create_app(mailed=...)` is told, and a part of the message id.

        Returns:
            The intent's id.

        Raises:
            TenantRequired: The transaction is of no tenant.
        """
        if tx.tenant is None:
            raise TenantRequired(internal="a mail belongs to a tenant: use its transaction")
        intent = intent or uuid4()
        values = [intent, self._service, mail.to, mail.subject, mail.text, mail.html]
        await tx.queue(_INTENT, [*values, self.message_id(intent), mail.unsubscribe])
        await tx.queue(_QUEUE, [intent, self._service, tx.tenant])
        tx.on_commit(self._wake)
        return intent

    def message_id(self, intent: UUID) -> str:
        """Return the Message-ID of a mail, which no attempt changes."""
        return f"<{intent.hex}@{self._domain}>"
