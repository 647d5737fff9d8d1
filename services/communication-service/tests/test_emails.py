"""Mails: queued with the answer, sent once, told when they were."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtenant_chassis.mail.transport import MailRefused
from mtenant_chassis.testing import read_list

pytestmark = pytest.mark.anyio


async def test_a_mail_is_queued_with_the_answer_sent_and_told_without_its_address(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any
) -> None:
    contact = service.others.contact(acme)
    deal = service.others.add(acme, "deal", name="D")
    answer = await client.post(
        "/api/emails/send",
        json=new_email(to=None, contact_id=contact, deal_id=deal),
        headers=service.bearer(acme),
    )
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["status"], made["to"], made["contact_id"]) == (
        "queued",
        "ada@example.com",
        contact,
    )
    assert UUID(made["id"]).version == 7
    await eventually(lambda: service.told("EmailSent", acme))

    read = await client.get(answer.headers["location"], headers=service.bearer(acme))
    assert (read.json()["status"], read.json()["attempts"]) == ("sent", 1)
    assert read.json()["links"] == [
        {"number": 0, "url": "https://example.com/offer?a=1&b=2", "clicks": 0}
    ]
    assert "/t/" not in read.text  # nobody but the reader has the tracker's links
    (event,) = service.told("EmailSent", acme)
    assert (event.email_id, event.contact_id, event.deal_id) == (made["id"], contact, deal)
    (mail,) = service.mails.sent
    assert mail["Message-ID"] == made["message_id"]
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "example.com/offer" not in mail.get_body(("html",)).get_content()
    for query in (f"contact_id={contact}", f"deal_id={deal}"):
        timeline = await client.get(f"/api/activities?{query}", headers=service.bearer(acme))
        (activity,) = timeline.json()["items"]
        assert (activity["kind"], activity["email_id"]) == ("email", made["id"])
        assert activity["id"] == made["activity_id"]
    (logged,) = service.told("ActivityLogged", acme)
    assert (logged.kind, logged.email_id) == ("email", made["id"])


async def test_a_mail_of_a_template_says_what_the_version_in_use_says(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any
) -> None:
    manager = service.bearer(acme)
    template = {
        "key": "offer",
        "name": "Offer",
        "subject": "For {{ name }}",
        "text": "Dear {{ name }}",
        "html": '<b>{{ name }}</b> <a href="https://example.com/{{ name }}">go</a>',
        "variables": [{"name": "name"}],
    }
    made = (await client.post("/api/emails/templates", json=template, headers=manager)).json()
    answer = await client.post(
        "/api/emails/send",
        json={"to": "ada@example.com", "template_id": made["id"], "values": {"name": "A & <B>"}},
        headers=manager,
    )
    assert answer.status_code == 202, answer.text
    assert (answer.json()["template_version"], answer.json()["subject"]) == (1, "For A & <B>")
    await eventually(lambda: service.mails.sent)
    page = service.mails.sent[0].get_body(("html",)).get_content()
    assert "<b>A &amp; &lt;B&gt;</b>" in page

    missing = await client.post(
        "/api/emails/send",
        json={"to": "ada@example.com", "template_id": made["id"]},
        headers=manager,
    )
    assert (missing.status_code, missing.json()["code"]) == (422, "VALUES_INVALID")
    newline = await client.post(
        "/api/emails/send",
        json={
            "to": "ada@example.com",
            "template_id": made["id"],
            "values": {"name": "x\r\nBcc: everybody@example.com"},
        },
        headers=manager,
    )
    assert (newline.status_code, newline.json()["code"]) == (422, "RENDERING_FAILED")
    unknown = await client.post(
        "/api/emails/send",
        json={"to": "ada@example.com", "template_id": str(uuid4())},
        headers=manager,
    )
    assert unknown.status_code == 404


async def test_what_is_no_mail_is_refused(
    service: Any, client: Any, acme: str, new_email: Any
) -> None:
    wrong: list[dict[str, Any]] = [
        {"to": None},
        {"text": None},
        {"template_id": str(uuid4())},
        {"to": "a@example.com, b@example.com"},
        {"to": "a@example.com\r\nBcc: b@example.com"},
        {"subject": "x\nBcc: b@example.com"},
        {"subject": "x\u2028y"},
        {"values": {"a": [1]}},
        {"contact_id": 1},
    ]
    for said in wrong:
        answer = await client.post(
            "/api/emails/send", json=new_email(**said), headers=service.bearer(acme)
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED"), said
    assert service.rows(acme, "select count(*) from emails") == [(0,)]


async def test_who_is_not_there_or_has_no_address_gets_no_mail(
    service: Any, client: Any, acme: str, new_email: Any
) -> None:
    silent = service.others.contact(acme, email=None)
    cases = [
        ({"to": None, "contact_id": silent}, 422, "ADDRESS_MISSING"),
        ({"contact_id": str(uuid4())}, 422, "RELATED_NOT_FOUND"),
        ({"company_id": str(uuid4())}, 422, "RELATED_NOT_FOUND"),
        ({"deal_id": str(uuid4())}, 422, "RELATED_NOT_FOUND"),
    ]
    for said, status, code in cases:
        answer = await client.post(
            "/api/emails/send", json=new_email(**said), headers=service.bearer(acme)
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    service.others.away.add("contact-service")
    answer = await client.post(
        "/api/emails/send",
        json=new_email(contact_id=str(uuid4())),
        headers=service.bearer(acme),
    )
    assert answer.status_code == 503
    assert service.rows(acme, "select count(*) from mail_intents") == [(0,)]


async def test_twenty_equal_requests_with_one_key_send_one_mail(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any
) -> None:
    headers = {**service.bearer(acme), "idempotency-key": "k1"}
    answers = await asyncio.gather(
        *(client.post("/api/emails/send", json=new_email(), headers=headers) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    again = await client.post("/api/emails/send", json=new_email(), headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    await eventually(lambda: service.told("EmailSent", acme))
    assert len(service.mails.sent) == 1
    assert service.rows(acme, "select count(*) from emails") == [(1,)]


async def test_a_mail_that_no_server_takes_says_so_and_nobody_is_told_that_it_was_sent(
    *, service: Any, client: Any, acme: str, new_email: Any, eventually: Any
) -> None:
    service.mails.error = MailRefused("recipient refused with 550")
    answer = await client.post("/api/emails/send", json=new_email(), headers=service.bearer(acme))
    status = f"select status, error from emails where id = '{answer.json()['id']}'"
    await eventually(lambda: service.rows(acme, status)[0][0] == "failed")

    assert service.rows(acme, status) == [("failed", "recipient refused with 550")]
    assert service.told("EmailSent") == []


async def test_lists_are_filtered_and_paged_newest_first(
    *, service: Any, client: Any, acme: str, new_email: Any
) -> None:
    contact, manager = service.others.contact(acme), service.bearer(acme)
    ids = []
    for number in range(5):
        said = new_email(subject=f"n{number}", contact_id=contact if number % 2 else None)
        made = await client.post("/api/emails/send", json=said, headers=manager)
        ids.append(made.json()["id"])
    seen = [one["id"] for one in await read_list(client, "/api/emails", manager, limit=3)]
    assert seen == ids[::-1]
    ours = await read_list(client, "/api/emails", manager, contact_id=contact)
    assert [one["id"] for one in ours] == [ids[3], ids[1]]
    none = await client.get(f"/api/emails?template_id={uuid4()}", headers=manager)
    assert none.json()["items"] == []


WILD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(subject=WILD, text=WILD, local=WILD, unsubscribe=st.booleans())
def test_whatever_is_said_no_field_and_no_recipient_is_added(
    subject: str, text: str, local: str, unsubscribe: bool
) -> None:
    import email as parser  # noqa: PLC0415 - this test's own
    import email.policy as policies  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from communication_service.domain.errors import AddressMissing  # noqa: PLC0415
    from communication_service.domain.text import as_one_line  # noqa: PLC0415
    from communication_service.handlers.outgoing import known_address  # noqa: PLC0415
    from mtenant_chassis import Mail  # noqa: PLC0415

    try:
        address = known_address(f"{local}@example.com")
    except AddressMissing:
        return
    url = "https://crm.example.com/t/u?t=x" if unsubscribe else None
    message = Mail(address, as_one_line(subject), text, None, url).message(
        sender="no-reply@example.com", message_id="<1@example.com>", date=datetime.now(UTC)
    )
    read = parser.message_from_bytes(message.as_bytes(), policy=policies.default)
    usual = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    ours = ["List-Unsubscribe", "List-Unsubscribe-Post"] if unsubscribe else []
    body = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    assert sorted(read.keys()) == sorted([*usual, *ours, *body])
    assert len(read["To"].addresses) == 1
