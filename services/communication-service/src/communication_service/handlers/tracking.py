"""What readers do with mails: opened, followed a link, wanted no more.

Whoever calls has no token but the one in the link. What it says was signed here: nothing else is believed, and
a link leads where the mail said that it leads, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from communication_service.domain.email import MOST_TRACKS, Email
from communication_service.domain.errors import LinkNotFound
from communication_service.domain.event import EmailOpened
from communication_service.domain.machine import why_machine
from communication_service.domain.tracking import Purpose, Token
from communication_service.handlers.emails import about
from communication_service.queries import email as rows
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import TenantNotFound, TenantNotReady, TenantSuspended, Transaction
from mtenant_errors import AppError
from mtenant_logger import current_request_id, get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Visit:
    """A request of whoever follows a link.

    Attributes:
        token: As it came.
        method: Of the request.
        fields: Its header, by names in lower case.
    """

    token: str
    method: str
    fields: Mapping[str, str]


class Tracking:
    """Notes what readers do.

    Args:
        chassis: Of the running app.
        own: Says whose tokens are believed.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._own = own
        self._signer = own.signer

    async def opened(self, visit: Visit) -> None:
        """Note that a mail was opened; whatever is wrong, a picture is a picture."""
        try:
            token = self._read(visit, "open")
            async with self._transaction(token) as tx:
                await self._note(tx, token, visit)
        except LinkNotFound:
            return
        except _NO_TENANT:
            return
        except AppError as exc:
            log.warning("an open could not be noted", code=exc.code)

    async def clicked(self, visit: Visit) -> str:
        """Note that a link was followed; return where it leads.

        Raises:
            LinkNotFound: The token is forged, too old, or of nothing that is there.
        """
        token = self._read(visit, "click")
        try:
            async with self._transaction(token) as tx:
                url = await rows.link(tx, token.email, token.link)
                if url is None:
                    raise LinkNotFound
                await self._note(tx, token, visit)
                return url
        except _NO_TENANT as exc:
            raise LinkNotFound from exc

    def check(self, visit: Visit) -> None:
        """Let the reader of a mail see the page that asks whether to unsubscribe.

        Raises:
            LinkNotFound: The token is forged or too old.
        """
        self._read(visit, "unsubscribe")

    async def unsubscribed(self, visit: Visit) -> None:
        """Note that the reader of a mail wants no more; once more is as good as once.

        Raises:
            LinkNotFound: The token is forged, too old, or of nothing that is there.
        """
        token = self._read(visit, "unsubscribe")
        try:
            async with self._transaction(token) as tx:
                one = await rows.lock(tx, token.email)
                if one is None or one.recipient is None:
                    raise LinkNotFound
                if one.unsubscribed_at is not None:
                    return
                await rows.suppress(tx, one.recipient, one.id)
                await rows.track(tx, one.id, "unsubscribe", keep=_has_room(one))
                trail = AuditTrail(
                    self._chassis.settings.service, "anonymous", current_request_id()
                )
                await trail.record(tx, "email.unsubscribed", "email", one.id)
        except _NO_TENANT as exc:
            raise LinkNotFound from exc

    def _read(self, visit: Visit, purpose: Purpose) -> Token:
        token = None if self._signer is None else self._signer.read(visit.token, purpose)
        if token is None:
            raise LinkNotFound
        return token

    def _transaction(self, token: Token) -> AbstractAsyncContextManager[Transaction]:
        return self._chassis.tenant(token.tenant).transaction()

    async def _note(self, tx: Transaction, token: Token, visit: Visit) -> None:
        one = await rows.lock(tx, token.email)
        if one is None:
            raise LinkNotFound
        machine = why_machine(
            visit.method,
            visit.fields,
            sent_at=one.sent_at,
            now=datetime.now(UTC),
            window=self._own.machine_window,
        )
        link = token.link if token.purpose == "click" else None
        await rows.track(tx, one.id, token.purpose, link=link, machine=machine, keep=_has_room(one))
        # Who follows a link has opened the mail, though the picture was not shown.
        if machine is None and one.opened_at is None:
            await self._chassis.outbox.add(tx, EmailOpened(str(one.id), **about(one)), key=one.id)


_NO_TENANT = (TenantNotFound, TenantSuspended, TenantNotReady)


def _has_room(email: Email) -> bool:
    return email.tracks < MOST_TRACKS
