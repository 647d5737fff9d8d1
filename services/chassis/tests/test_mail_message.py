from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis import Mail

TEXT = st.text(st.characters(exclude_categories=()))  # surrogates, too


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a@example.com, b@example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "Ada <ada@example.com>",
        "a" * 250 + "@example.com",
        "a\0@example.com",
    ],
)
def test_what_is_no_single_address_is_refused(to: str) -> None:
    with pytest.raises(ValueError, match="recipient"):
        Mail(to=to, subject="s", text="t")


@given(TEXT, TEXT, TEXT | st.none())
def test_no_text_adds_a_field_or_a_recipient(subject: str, text: str, html: str | None) -> None:
    mail = Mail(to="ada@example.com", subject=subject, text=text, html=html)
    made = mail.message(
        sender="no-reply@example.com", message_id="<1@example.com>", date=datetime.now(UTC)
    )
    read = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)

    fields = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"]
    assert [name for name in read.keys() if not name.startswith("Content-")] == fields  # noqa: SIM118
    assert read["To"] == "ada@example.com"


def test_what_cannot_be_in_a_mail_is_replaced() -> None:
    mail = Mail(
        to="ada@example.com", subject="a\r\nBcc: b\0" + "x" * 600, text="a\0b", html="\ud800"
    )

    assert mail.subject == ("a  Bcc: b " + "x" * 600)[:500]
    assert (mail.text, mail.html) == ("a\ufffdb", "\ufffd")
