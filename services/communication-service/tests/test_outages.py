"""The servers go away and come back under a running app; a mail server that is slow to take a mail."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from communication_service import MIGRATIONS
from communication_service.routes.tracking import GIF
from mtenant_chassis import MailSettings
from mtenant_chassis.mail import SmtpTransport
from mtenant_chassis.testing import Place, running
from mtenant_devstack import Stack

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(["postgres"], mode="durable") as opened:
        yield opened


async def test_what_was_answered_survives_the_database_and_the_rest_comes_back(
    *, stack: Stack, make_service: Any, new_email: Any, eventually: Any, links_of: Any, person: Any
) -> None:
    place = await asyncio.to_thread(
        Place.make, stack.urls["DATABASE_URL"], {"communication": MIGRATIONS}
    )
    acme = await place.new_tenant()
    patient = place.settings("communication-service").database
    service = make_service(
        at=place,
        database=replace(patient, connect_timeout=timedelta(seconds=1)),
    )
    member = service.bearer(acme, "member")
    async with running(service.app) as client:
        await client.post("/api/emails/send", json=new_email(), headers=member)
        await eventually(lambda: service.told("EmailSent"))
        found = links_of(service.mails.sent[0])
        stack.postgres.kill()
        for answer in (
            await client.post("/api/emails/send", json=new_email(), headers=member),
            await client.get(found["click"][0], headers=person),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        picture = await client.get(found["open"][0], headers=person)
        assert (picture.status_code, picture.content) == (200, GIF)
        assert (await client.get("/live")).status_code == 200
        assert (await client.get("/ready")).status_code == 503
        stack.postgres.start()
        async with asyncio.timeout(60):
            while (await client.get(found["click"][0], headers=person)).status_code != 302:
                await asyncio.sleep(0.1)
        sent = await client.post("/api/emails/send", json=new_email(), headers=member)
        assert sent.status_code == 202
        await eventually(lambda: len(service.told("EmailSent")) == 2)  # worker and scheduler live


class Mailbox:
    """A server that does not take the first mails."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        self.taken: list[EmailMessage] = []
        self.seen: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.seen.append(message["Message-ID"])
        if self.refusals:
            return self.refusals.pop(0)
        self.taken.append(message)
        return "250 taken"


async def test_a_mail_is_tried_again_under_its_message_id_until_the_server_takes_it(
    *, make_service: Any, acme: str, new_email: Any, eventually: Any, place: Place
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    box = Mailbox(["451 later", "452 later"])
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        smtp = SmtpTransport(
            MailSettings(smtp_host="127.0.0.1", smtp_port=port, smtp_start_tls=False)
        )
        service = make_service(mail=smtp)
        async with running(service.app) as client:
            answer = await client.post(
                "/api/emails/send", json=new_email(), headers=service.bearer(acme)
            )
            soon = f"update shared.mail_queue set due_at = now() where tenant = '{acme}'"
            for count in (1, 2):
                await eventually(lambda count=count: len(box.seen) == count)
                waits = f"select due_at > now() + interval '3 s', attempts from shared.mail_queue where tenant = '{acme}'"
                await eventually(
                    lambda count=count, waits=waits: place.rows(waits) == [(True, count)]
                )
                await asyncio.to_thread(place.rows, soon)
            await eventually(lambda: service.told("EmailSent", acme))
            read = await client.get(answer.headers["location"], headers=service.bearer(acme))
    finally:
        await asyncio.to_thread(server.stop)
    assert len(box.taken) == 1
    assert set(box.seen) == {answer.json()["message_id"]}
    assert (read.json()["status"], read.json()["attempts"]) == ("sent", 3)
