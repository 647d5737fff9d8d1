"""The story of the demo with two processes of every service behind one address: nothing is done twice."""

from __future__ import annotations

import asyncio
import email
import email.policy
import time
from collections import Counter
from pathlib import Path

import nats
import psycopg
import pytest
from nats.js import JetStreamContext

from mtenant_database.doctor import examine
from mtenant_devstack import Stack
from mtenant_devstack.crm import Crm
from mtenant_devstack.story import tell
from mtenant_events import EventsConfig

DEADLINE = 30.0  # seconds; only a test that fails waits so long
CONFIG = EventsConfig(source="/test")
IDLE = (
    "select not exists (select from eventing.outbox) and not exists (select from shared.mail_queue)"
)
ONCE = {
    "tenant.created": 1,
    "tenant.user_invited": 1,
    "tenant.user_joined": 1,
    "user.created": 2,
    "user.login": 2,
    "contact.created": 98,
    "deal.created": 1,
    "deal.stage_changed": 4,
    "deal.closed_won": 1,
    "activity.logged": 2,  # that it was won, and the mail that thanks
    "email.sent": 4,  # two welcomes, the thanks, the reminder
    "email.opened": 1,
}


def mails(folder: Path) -> Counter[tuple[str, str]]:
    """Count the mails to each address with each subject."""
    read = (
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in folder.glob("*.eml")
    )
    return Counter((mail["To"], mail["Subject"]) for mail in read)


async def settled(admin: psycopg.Connection, stream: JetStreamContext) -> None:
    """Return when no event waits, none is being handled, and no mail is to be sent."""
    deadline = time.monotonic() + DEADLINE
    while True:
        consumers = await stream.consumers_info(CONFIG.stream)
        busy = [one.name for one in consumers if one.num_pending or one.num_ack_pending]
        # After the consumers: what they do leaves a row until the next consumer has it.
        if not busy and admin.execute(IDLE).fetchone() == (True,):
            return
        assert time.monotonic() < deadline, busy
        await asyncio.sleep(0.05)


async def events(admin: psycopg.Connection, url: str, tenant: str) -> tuple[dict[str, int], int]:
    """Count a tenant's events by type, and how many different ids they have."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        await settled(admin, stream)
        reader = await stream.pull_subscribe(
            f"{CONFIG.prefix}.evt.{tenant}.>", stream=CONFIG.stream
        )
        types, ids = Counter[str](), set[str]()
        left = (await reader.consumer_info()).num_pending
        while left:
            for message in await reader.fetch(min(left, 100)):
                types[".".join(message.subject.split(".")[3:5])] += 1
                ids.add((message.headers or {})["Nats-Msg-Id"])
                left -= 1
    finally:
        await client.close()
    return dict(types), len(ids)


@pytest.mark.slow
def test_two_processes_of_every_service_do_nothing_twice() -> None:
    with Stack() as stack, Crm(stack, stack.urls, copies=2) as crm:
        crm.start()
        acme = tell(crm)
        at = stack.urls["DATABASE_URL"].rpartition("/")[0]
        with psycopg.connect(f"{at}/{crm.app.rpartition('/')[2]}", autocommit=True) as admin:
            types, ids = asyncio.run(events(admin, crm.nats_url, acme.tenant))
            admin.execute(f"set search_path to tenant_{acme.tenant}".encode())
            statuses = admin.execute("select status, count(*) from emails group by status")
            emails: dict[str, int] = dict(statuses.fetchall())
            noted = admin.execute("select count(*) from activities").fetchone()
        sent = mails(crm.mails)
        report = asyncio.run(examine(crm.app))
        passed = {name: gateway.passed for name, gateway in crm.gateways.items()}

    assert all(min(counts) for counts in passed.values()), passed
    assert (types, ids) == (ONCE, sum(ONCE.values()))
    assert emails == {"sent": 4, "scheduled": 1}
    assert noted == (2,)
    assert set(sent.values()) == {1}, sent
    assert {subject for to, subject in sent if not to.endswith("@globex.example.com")} == {
        "Confirm your address",
        "You are invited to Acme",
        "Welcome, Ada",
        "Welcome, Grace",
        "Thank you for choosing us",
        "Reminder: Call them",
    }
    assert [str(one) for one in report.findings if one.severity == "high"] == []
