"""What a laptop has instead of a mail program: the mails that were written to a directory."""

from __future__ import annotations

import asyncio
import email
import email.policy
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from mtenant_chassis import Router, public

MOST: Final = 200
"""So many of the newest are shown."""


class WrittenMail(BaseModel):
    """A mail that was written to the directory."""

    message_id: str
    to: str
    subject: str
    text: str
    html: str | None


def development_router(directory: str) -> Router:
    """Return the route that shows mails to everybody: for development only.

    Args:
        directory: `MAIL_DIRECTORY`.
    """
    router = Router(prefix="/dev", tags=["development"])

    @router.get("/mails", dependencies=[public()])
    async def mails() -> list[WrittenMail]:
        """Return the newest mails, newest first."""
        return await asyncio.to_thread(_read, Path(directory))

    return router


def _read(directory: Path) -> list[WrittenMail]:
    if not directory.is_dir():
        return []
    newest = sorted(directory.glob("*.eml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [_parse(path.read_bytes()) for path in newest[:MOST]]


def _parse(raw: bytes) -> WrittenMail:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    bodies = {kind: message.get_body((kind,)) for kind in ("plain", "html")}
    said = {kind: None if one is None else str(one.get_content()) for kind, one in bodies.items()}
    return WrittenMail(
        message_id=message["message-id"],
        to=message["to"],
        subject=message["subject"],
        text=said["plain"] or "",
        html=said["html"],
    )
