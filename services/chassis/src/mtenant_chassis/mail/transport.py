"""Where mails go: a server, a directory, or a list."""

from __future__ import annotations

import asyncio
import os
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import aiosmtplib

from mtenant_chassis.settings import MailSettings


class MailRefused(Exception):
    """The server will never take this mail; trying again is no use."""


class MailDelayed(Exception):
    """The mail could not be handed over now."""


class Transport(Protocol):
    """Takes a message."""

    async def send(self, message: EmailMessage) -> None:
        """Hand it over.

        Raises:
            MailRefused: It will never be taken.
            MailDelayed: It may be later.
        """
        ...


class SmtpTransport:
    """Hands mails to a server (RFC 5321, 6409), each over a connection of its own.

    Args:
        settings: Which server, and how.
    """

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        """Hand it over."""
        settings = self._settings
        password = settings.smtp_password
        try:
            await aiosmtplib.send(
                message,
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                start_tls=settings.smtp_start_tls,
                username=settings.smtp_user,
                password=password.reveal() if password else None,
                timeout=15,
            )
        except aiosmtplib.SMTPRecipientsRefused as exc:
            # One recipient, so one answer: 5yz is for ever (RFC 5321, 4.2.1).
            permanent = all(500 <= one.code < 600 for one in exc.recipients)
            raise (MailRefused if permanent else MailDelayed)(_codes(exc)) from None
        except aiosmtplib.SMTPResponseException as exc:
            # A server that wants another login may be mended; what it says of a message is for ever.
            permanent = 500 <= exc.code < 600 and not isinstance(
                exc, aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPHeloError
            )
            told = f"{type(exc).__name__} {exc.code}"
            raise (MailRefused if permanent else MailDelayed)(told) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as exc:
            raise MailDelayed(type(exc).__name__) from exc


def _codes(exc: aiosmtplib.SMTPRecipientsRefused) -> str:
    # Not the server's text: it may quote the address.
    return f"recipient refused with {', '.join(str(one.code) for one in exc.recipients)}"


class DirectoryTransport:
    """Writes each mail to a file of its own, `<message id>.eml`; for development and demonstrations.

    Args:
        directory: Where; it is made.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)

    async def send(self, message: EmailMessage) -> None:
        """Write it; a file that is there is whole."""
        await asyncio.to_thread(self._write, message)

    def _write(self, message: EmailMessage) -> None:
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        unfinished = self._directory / f".{name}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(message.as_bytes())
            unfinished.replace(self._directory / f"{name}.eml")
        except OSError as exc:
            raise MailDelayed(f"{type(exc).__name__}: {exc.strerror}") from exc


class MemoryTransport:
    """Keeps mails in a list, for tests.

    Attributes:
        sent: The messages.
        error: What to raise instead, if anything.
    """

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []
        self.error: MailRefused | MailDelayed | None = None

    async def send(self, message: EmailMessage) -> None:
        """Keep it."""
        if self.error is not None:
            raise self.error
        self.sent.append(message)


def transport_of(settings: MailSettings) -> Transport | None:
    """Return where mails go; None if nobody said."""
    if settings.directory:
        return DirectoryTransport(settings.directory)
    return SmtpTransport(settings) if settings.smtp_host else None
