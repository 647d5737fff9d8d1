from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis import Mail, MailSettings
from mtenant_chassis.mail import DirectoryTransport, SmtpTransport
from mtenant_chassis.mail.transport import MailDelayed, MailRefused
from mtenant_config import Secret

pytestmark = pytest.mark.anyio
SECRET = "s3cr3t-t0ken"


def message(**parts: Any) -> EmailMessage:
    mail = Mail(**{"to": "ada@example.com", "subject": "s", "text": "t", **parts})
    return mail.message(
        sender="no-reply@example.com", message_id="<1@example.com>", date=datetime.now(UTC)
    )


async def test_mails_in_a_directory_are_whole_files_for_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "mails"
    written = message(text=SECRET, html=f"<b>{SECRET}</b>")
    for _ in range(2):  # sent again: it is the same file
        await DirectoryTransport(directory).send(written)

    (file,) = directory.iterdir()
    assert file.name == "1.eml"
    assert file.stat().st_mode & 0o077 == 0
    read = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert [part.get_content_type() for part in read.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


async def test_a_directory_that_cannot_be_written_delays_the_mail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MailDelayed):
        await DirectoryTransport(tmp_path / "file").send(message())


async def test_without_starttls_nothing_is_said_to_a_server_that_should_have_it(
    smtp: MailSettings, mailbox: Any
) -> None:
    insisting = MailSettings(smtp_host=smtp.smtp_host, smtp_port=smtp.smtp_port)
    with pytest.raises(MailDelayed):
        await SmtpTransport(insisting).send(message())
    assert mailbox.taken == []


async def test_a_server_that_is_not_there_delays_the_mail(unused_port: int) -> None:
    nobody = MailSettings(smtp_host="127.0.0.1", smtp_port=unused_port, smtp_start_tls=False)
    with pytest.raises(MailDelayed):
        await SmtpTransport(nobody).send(message())


@pytest.mark.parametrize(
    ("answer", "error"),
    [("550 5.1.1 unknown", MailRefused), ("452 4.2.2 full", MailDelayed)],
)
async def test_what_a_server_says_of_a_recipient_decides(
    smtp: MailSettings, mailbox: Any, answer: str, error: type[Exception]
) -> None:
    mailbox.answer = answer
    with pytest.raises(error):
        await SmtpTransport(smtp).send(message())


async def test_an_address_in_another_script_arrives_as_it_is(
    smtp: MailSettings, mailbox: Any
) -> None:
    await SmtpTransport(smtp).send(message(to="ädø@exämple.com"))
    assert mailbox.taken[0]["To"] == "ädø@exämple.com"


@pytest.mark.parametrize(
    ("word", "error"), [("554 5.7.1 spam", MailRefused), ("451 4.3.0 later", MailDelayed)]
)
async def test_what_a_server_says_of_a_message_decides_and_is_not_repeated(
    smtp: MailSettings, mailbox: Any, word: str, error: type[Exception]
) -> None:
    mailbox.word = f"{word}: {SECRET}"
    with pytest.raises(error) as raised:
        await SmtpTransport(smtp).send(message())
    assert SECRET not in str(raised.value)


async def test_a_login_that_is_refused_delays_the_mail_and_shows_no_password(
    smtp: MailSettings, mailbox: Any
) -> None:
    settings = replace(smtp, smtp_user="u", smtp_password=Secret("hunter2"))
    with pytest.raises(MailDelayed) as raised:
        await SmtpTransport(settings).send(message())
    assert "hunter2" not in repr((raised.value, raised.value.__cause__))
    assert mailbox.taken == []
