"""What a laptop shows, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis import MailSettings
from mtenant_chassis.mail import DirectoryTransport
from mtenant_chassis.testing import running

pytestmark = pytest.mark.anyio


async def test_a_laptop_shows_the_mails_of_its_directory(
    make_service: Any, acme: str, new_email: Any, eventually: Any, tmp_path: Path
) -> None:
    mails = tmp_path / "mails"
    service = make_service(
        mail=DirectoryTransport(mails), mail_settings=MailSettings(directory=str(mails))
    )
    async with running(service.app) as client:
        assert (await client.get("/dev/mails")).json() == []
        sent = await client.post("/api/emails/send", json=new_email(), headers=service.bearer(acme))
        await eventually(lambda: service.told("EmailSent"))
        (shown,) = (await client.get("/dev/mails")).json()
    assert shown["message_id"] == sent.json()["message_id"]
    assert (shown["to"], shown["subject"]) == ("ada@example.com", "An offer")
    assert "Hello" in shown["text"]
    assert "/t/o.gif?t=" in shown["html"]


@pytest.mark.parametrize(
    "changes", [{"environment": "production"}, {"environment": "dev", "mail_settings": None}]
)
async def test_nothing_else_shows_any(make_service: Any, tmp_path: Path, changes: Any) -> None:
    usual = {"mail_settings": MailSettings(directory=str(tmp_path))}
    service = make_service(**{**usual, **changes})
    assert "/dev/mails" not in service.app.openapi()["paths"]
