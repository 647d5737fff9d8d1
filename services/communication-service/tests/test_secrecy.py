"""No address, no token and no text of a mail stands in a log line, an event, an audit entry, a trace or an error."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_chassis.mail.transport import MailDelayed, MailRefused
from mtenant_chassis.testing import running
from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio

ADDRESS = "very.private@example.com"
WORDS = "nobody else may read this sentence"


async def test_what_is_between_us_and_a_reader_leaves_by_no_other_door(
    *,
    make_service: Any,
    acme: str,
    new_email: Any,
    eventually: Any,
    links_of: Any,
    person: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caplog.set_level(logging.DEBUG)
    service = make_service(tracer_provider=provider)
    contact = service.others.contact(acme, email=ADDRESS)
    headers = service.bearer(acme)
    body = new_email(to=None, contact_id=contact, text=WORDS)
    answers = []
    with recorded_logs() as lines:
        async with running(service.app) as client:
            await client.post("/api/emails/send", json=body, headers=headers)
            await eventually(lambda: service.told("EmailSent"))
            (mail,) = service.mails.sent
            found = links_of(mail)
            tokens = {
                parse_qs(urlsplit(url).query)["t"][0] for urls in found.values() for url in urls
            }
            await client.get(found["open"][0], headers=person)
            await client.get(found["click"][0], headers=person)
            await client.get(found["unsubscribe"][0])
            await client.post(found["unsubscribe"][0])
            answers += [
                await client.get(f"{found['click'][0]}x", headers=person),
                await client.get(found["open"][0].replace("o.gif", "c"), headers=person),
                await client.post("/api/emails/send", json=body, headers=headers),
                await client.post(
                    "/api/emails/send", json=new_email(to=f"{ADDRESS}, x"), headers=headers
                ),
            ]
            for error in (MailDelayed("SMTPx 451"), MailRefused("recipient refused with 550")):
                service.mails.error = error
                said = new_email(to="other.private@example.com", text=WORDS)
                await client.post("/api/emails/send", json=said, headers=headers)
            failed = "select 1 from emails where status = 'failed'"
            await eventually(lambda: service.rows(acme, failed))
            audit = await client.get("/api/emails/audit", headers=service.bearer(acme, "admin"))
    assert len(tokens) == 3
    assert [answer.status_code for answer in answers] == [404, 404, 422, 400]
    tables = ("email_tracking", "email_links", "audit_entries", "mail_intents", "emails")
    stored = {table: repr(service.rows(acme, f"select t::text from {table} t")) for table in tables}
    queue = repr(service.place.rows("select t::text from shared.mail_queue t"))
    ours = [one for one in caplog.records if one.name != "httpx2"]  # the test's own client
    places = {
        "lines": b"".join(lines.lines).decode(),
        "log": "".join(f"{one.getMessage()} {one.exc_text}" for one in ours),
        "spans": "".join(span.to_json() for span in exporter.get_finished_spans()),
        "events": repr(service.events.outbox.added),
        "errors": "".join(f"{answer.text} {answer.headers}" for answer in answers),
        "audit": audit.text,
        "queue": queue,
        **stored,
    }
    assert "EmailOpened" in places["events"]
    assert "is given up" in places["log"]
    for name, text in places.items():
        assert text
        for token in tokens:
            assert token not in text, name
        assert service.own.tracking_secret.reveal() not in text
        if name not in {"emails", "mail_intents"}:  # a tenant's own: whom it wrote to
            assert "private@example.com" not in text, name
            assert WORDS not in text, name


async def test_a_service_that_is_away_does_not_tell_whose_address_was_wanted(
    service: Any, client: Any, acme: str, new_email: Any
) -> None:
    service.others.gate = asyncio.Event()
    service.others.gate.set()
    service.others.away.add("contact-service")
    contact = service.others.contact(acme, email=ADDRESS)
    with recorded_logs() as lines:
        answer = await client.post(
            "/api/emails/send",
            json=new_email(to=ADDRESS, contact_id=contact),
            headers=service.bearer(acme),
        )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert ADDRESS not in answer.text
    assert ADDRESS.encode() not in b"".join(lines.lines)
