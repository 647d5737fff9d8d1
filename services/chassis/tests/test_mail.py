from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import pytest

from mtenant_chassis import Chassis, Mail, MailSettings
from mtenant_chassis.app import App
from mtenant_chassis.mail import MailOutcome, MemoryTransport, SmtpTransport
from mtenant_chassis.mail import worker as worker_module
from mtenant_chassis.mail.transport import MailRefused
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_database import DatabaseUnavailable, PermissionDenied, TenantRequired, Transaction

pytestmark = pytest.mark.anyio
SECRET = "s3cr3t-t0ken"


@pytest.fixture(autouse=True)
def empty_queue(place: Place) -> None:
    """All tests share the queue, and some leave a mail in it."""
    place.rows("truncate shared.mail_queue")


@asynccontextmanager
async def opened(app: App) -> AsyncIterator[Chassis]:
    async with app.router.lifespan_context(app):
        yield app.state.chassis


def intents(place: Place, tenant: str) -> list[tuple[Any, ...]]:
    return place.rows(
        "select sent_at is not null, failed_at is not null, body_text, error"
        f" from tenant_{tenant}.mail_intents"
    )


def queued(place: Place, tenant: str) -> int:
    found = place.rows(f"select count(*) from shared.mail_queue where tenant = '{tenant}'")
    return int(found[0][0])


async def test_a_committed_mail_arrives_and_its_text_is_forgotten(
    *,
    notes_app: Any,
    place: Place,
    issuer: Issuer,
    acme: str,
    smtp: MailSettings,
    mailbox: Any,
    eventually: Any,
) -> None:
    async with running(notes_app(mail=SmtpTransport(smtp))) as client:
        answer = await client.post(
            "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": "Wëlcome"}
        )
        assert answer.status_code == 202
        await eventually(lambda: queued(place, acme) == 0)

    (arrived,) = mailbox.taken
    assert arrived["To"] == "ada@example.com"
    assert arrived["Subject"] == "Wëlcome"
    assert SECRET in arrived.get_content()
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert intents(place, acme) == [(True, False, None, None)]


async def test_a_mail_of_a_transaction_that_rolled_back_never_was(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    sink = MemoryTransport()
    async with running(notes_app(mail=sink)) as client:
        answer = await client.post(
            "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": "rolled back"}
        )

    assert answer.status_code == 422
    assert sink.sent == []
    assert intents(place, acme) == []
    assert queued(place, acme) == 0


async def test_a_mail_leaves_at_once_and_not_at_the_next_look(
    notes_app: Any,
    issuer: Issuer,
    acme: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
) -> None:
    monkeypatch.setattr(worker_module, "POLL", 3600.0)
    sink = MemoryTransport()
    async with running(notes_app(mail=sink)) as client:
        for title in ("one", "two"):
            await client.post(
                "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": title}
            )
            await eventually(lambda title=title: [m["Subject"] for m in sink.sent][-1:] == [title])


async def test_the_token_in_a_mail_is_in_no_log(
    *,
    notes_app: Any,
    place: Place,
    issuer: Issuer,
    acme: str,
    smtp: MailSettings,
    mailbox: Any,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    mailbox.answer = f"550 no mailbox here for ada@example.com {SECRET}"
    async with running(notes_app(mail=SmtpTransport(smtp))) as client:
        await client.post(
            "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": "t"}
        )
        await eventually(lambda: queued(place, acme) == 0)

    ours = [one for one in caplog.records if one.name != "mail.log"]  # the server's own
    told = "\n".join(one.getMessage() for one in ours) + "".join(capfd.readouterr())
    assert "is given up: recipient refused with 550" in caplog.text
    assert SECRET not in told
    assert "ada@example.com" not in told
    assert intents(place, acme) == [(False, True, None, "recipient refused with 550")]
    assert SECRET not in repr(Mail(to="ada@example.com", subject="s", text=SECRET, html=SECRET))


async def test_a_server_that_says_later_is_asked_again_and_the_mail_arrives_once(
    *,
    notes_app: Any,
    place: Place,
    issuer: Issuer,
    acme: str,
    smtp: MailSettings,
    mailbox: Any,
    eventually: Any,
) -> None:
    mailbox.answer = "451 greylisted"
    async with running(notes_app(mail=SmtpTransport(smtp))) as client:
        await client.post(
            "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": "t"}
        )
        await eventually(
            lambda: place.rows(
                f"select 1 from shared.mail_queue where tenant = '{acme}' and attempts = 1"
                " and due_at < now() + interval '1 minute'"
            )
        )
        assert intents(place, acme)[0][:2] == (False, False)
        mailbox.answer = "250 OK"
        update = f"update shared.mail_queue set due_at = now() where tenant = '{acme}'"
        await asyncio.to_thread(place.rows, update)  # it may wait for the worker
        await eventually(lambda: queued(place, acme) == 0)

    assert len(mailbox.taken) == 1


async def test_two_workers_send_each_mail_once(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    sink = MemoryTransport()
    first, second = notes_app(mail=sink), notes_app(mail=sink)
    async with running(first) as one, running(second) as two:
        member = issuer.bearer(acme, "member")
        asked = [
            client.post("/api/notes/mail", headers=member, json={"title": f"m{number}"})
            for number in range(20)
            for client in (one, two)
        ]
        await asyncio.gather(*asked)
        await eventually(lambda: queued(place, acme) == 0)

    assert len(sink.sent) == len({m["Message-ID"] for m in sink.sent}) == 40


class Dies(MemoryTransport):
    """Takes the mail, and is killed before it can say so."""

    async def send(self, message: EmailMessage) -> None:
        await super().send(message)
        raise asyncio.CancelledError


async def test_a_mail_of_a_worker_that_died_is_sent_again_under_the_same_id(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    dying, sink = Dies(), MemoryTransport()
    async with running(notes_app(mail=dying)) as client:
        await client.post(
            "/api/notes/mail", headers=issuer.bearer(acme, "member"), json={"title": "t"}
        )
        await eventually(lambda: dying.sent)
    assert queued(place, acme) == 1

    place.rows(f"update shared.mail_queue set due_at = now() where tenant = '{acme}'")  # the lease
    async with running(notes_app(mail=sink)):
        await eventually(lambda: queued(place, acme) == 0)

    assert [m["Message-ID"] for m in sink.sent] == [m["Message-ID"] for m in dying.sent]


class Picky(MemoryTransport):
    """Has a fault that shows with some mails only."""

    async def send(self, message: EmailMessage) -> None:
        if message["Subject"] == "poison":
            raise LookupError(f"cannot cope with {message.get_content()}")
        await super().send(message)


async def test_a_mail_that_cannot_be_sent_does_not_stop_those_behind_it(
    *,
    notes_app: Any,
    place: Place,
    issuer: Issuer,
    acme: str,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Picky()
    async with opened(notes_app(mail=sink)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            for subject in ("poison", "two", "three"):
                await chassis.mailer.add(
                    tx, Mail(to="ada@example.com", subject=subject, text=SECRET)
                )
        await eventually(lambda: len(sink.sent) == 2)
        last = f"update shared.mail_queue set due_at = now(), attempts = 11 where tenant = '{acme}'"
        await asyncio.to_thread(place.rows, last)  # it may wait for the worker
        await eventually(lambda: queued(place, acme) == 0)

    failed = [row for row in intents(place, acme) if row[1]]
    assert failed == [(False, True, None, "after 12 attempts: LookupError")]
    assert SECRET not in caplog.text


async def test_a_service_is_told_once_what_became_of_its_mail_in_the_transaction_that_notes_it(
    *, notes_app: Any, place: Place, acme: str, eventually: Any
) -> None:
    told: list[tuple[str | None, UUID, str | None]] = []
    faults = [LookupError("not now")]

    async def mailed(chassis: Chassis, tx: Transaction, outcome: MailOutcome) -> None:
        told.append((tx.tenant, outcome.intent, outcome.error))
        await tx.execute(
            "insert into notes (id, title) values (%s, %s)", [uuid4(), f"told {len(told)}"]
        )
        if faults:
            raise faults.pop()

    sink, chosen, refused = Picky(), uuid4(), uuid4()
    mail = Mail(to="ada@example.com", subject="s", text="t")
    due = f"update shared.mail_queue set due_at = now() where tenant = '{acme}'"
    async with opened(notes_app(mail=sink, mailed=mailed)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            assert await chassis.mailer.add(tx, mail, intent=chosen) == chosen
        await eventually(lambda: told)
        assert intents(place, acme) == [(False, False, "t", None)]  # nor was it noted
        await asyncio.to_thread(place.rows, due)
        await eventually(lambda: queued(place, acme) == 0)
        sink.error = MailRefused("553")
        async with chassis.tenant(acme).transaction() as tx:
            await chassis.mailer.add(tx, mail, intent=refused)
        await eventually(lambda: queued(place, acme) == 0)

    assert told == [(acme, chosen, None), (acme, chosen, None), (acme, refused, "553")]
    assert place.rows(f"select count(*) from tenant_{acme}.notes") == [(2,)]
    assert {message["Message-ID"] for message in sink.sent} == {f"<{chosen.hex}@example.com>"}


async def test_a_mail_that_cannot_be_noted_holds_up_none_behind_it_and_is_noted_soon(
    *,
    notes_app: Any,
    place: Place,
    acme: str,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both were claimed at once, for two minutes."""
    monkeypatch.setattr(worker_module, "_FIRST_WAIT", 0.01)
    told: list[UUID] = []

    async def mailed(chassis: Chassis, tx: Transaction, outcome: MailOutcome) -> None:
        told.append(outcome.intent)
        if len(told) == 1:
            raise DatabaseUnavailable

    sink = MemoryTransport()
    async with opened(notes_app(mail=sink, mailed=mailed)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            for subject in ("one", "two"):
                await chassis.mailer.add(
                    tx, Mail(to="ada@example.com", subject=subject, text="text")
                )
        await eventually(lambda: queued(place, acme) == 0)

    assert [row[:2] for row in intents(place, acme)] == [(True, False)] * 2
    first, second, again = (str(mail["Message-ID"]) for mail in sink.sent)
    assert first == again != second


async def test_a_mail_that_nobody_can_note_is_not_sent_for_ever(
    *, notes_app: Any, place: Place, acme: str, eventually: Any
) -> None:
    told = asyncio.Event()

    async def mailed(chassis: Chassis, tx: Transaction, outcome: MailOutcome) -> None:
        told.set()
        if outcome.error is None:
            raise LookupError("never")

    sink = MemoryTransport()
    again = f"update shared.mail_queue set due_at = now(), attempts = 12 where tenant = '{acme}'"
    async with opened(notes_app(mail=sink, mailed=mailed)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            await chassis.mailer.add(tx, Mail(to="ada@example.com", subject="s", text="t"))
        await eventually(told.is_set)
        await asyncio.to_thread(place.rows, again)
        await eventually(lambda: queued(place, acme) == 0)

    assert len(sink.sent) == 1
    assert intents(place, acme)[0][:2] == (False, True)


@pytest.mark.parametrize("to", ["ada@example.com", "ådå@example.com"])
@pytest.mark.parametrize("length", [1, 60, 126, 800])
def test_where_to_end_such_mails_stands_in_the_bytes_as_it_is(to: str, length: int) -> None:
    """Mail programs read it as it is (RFC 8058): an encoded word in it is no URL (RFC 2047, 5)."""
    url = f"https://crm.example.com/t/u?t={'A' * length}"
    message = Mail(to=to, subject="s", text="t", unsubscribe=url).message(
        sender="x@example.com", message_id="<1@example.com>", date=datetime.now(UTC)
    )
    copied = message_from_bytes(message.as_bytes(), policy=message.policy)
    for sent in (message, copied):
        assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in sent.as_bytes()
        assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in sent.as_bytes()
    assert max(map(len, message.as_bytes().split(b"\r\n"))) <= 998  # RFC 5322, 2.1.1


async def test_a_mail_may_say_where_its_recipient_ends_such_mails(
    *, notes_app: Any, place: Place, acme: str, eventually: Any
) -> None:
    sink, url = MemoryTransport(), f"https://crm.example.com/t/u?t={SECRET}"
    mail = Mail(to="ada@example.com", subject="s", text="t", unsubscribe=url)
    assert SECRET not in repr(mail)
    async with opened(notes_app(mail=sink)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            await chassis.mailer.add(tx, mail)
        await eventually(lambda: queued(place, acme) == 0)

    assert sink.sent[0]["List-Unsubscribe"] == f"<{url}>"
    assert sink.sent[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert place.rows(f"select unsubscribe from tenant_{acme}.mail_intents") == [(None,)]
    endless = f"https://a/{'b' * 1000}"
    for bad in ("javascript:x", "https://a>b", "https://a\r\nBcc: x@example.com", "", endless):
        with pytest.raises(ValueError, match="unsubscribes"):
            Mail(to="ada@example.com", subject="s", text="t", unsubscribe=bad)


async def test_mails_of_a_tenant_that_is_gone_are_forgotten(
    notes_app: Any, place: Place, acme: str, eventually: Any
) -> None:
    sink = MemoryTransport()
    async with opened(notes_app()) as chassis, chassis.tenant(acme).transaction() as tx:
        # Without a transport it waits.
        await chassis.mailer.add(tx, Mail(to="ada@example.com", subject="s", text="t"))
    assert queued(place, acme) == 1
    place.rows(f"drop schema tenant_{acme} cascade")
    place.rows(f"delete from shared.tenants where id = '{acme}'")

    async with running(notes_app(mail=sink)):
        await eventually(lambda: queued(place, acme) == 0)

    assert sink.sent == []


async def test_mails_of_a_suspended_tenant_wait_and_hold_up_nobody(
    *, notes_app: Any, place: Place, acme: str, other: str, eventually: Any
) -> None:
    sink, mail = MemoryTransport(), Mail(to="ada@example.com", subject="s", text="t")
    async with opened(notes_app()) as chassis:  # without a transport they wait
        for tenant in (acme, other):
            async with chassis.tenant(tenant).transaction() as tx:
                await chassis.mailer.add(tx, mail)
    place.rows(f"revoke usage on schema tenant_{acme} from {place.migrate.app}")
    async with opened(notes_app(mail=sink)):
        await eventually(lambda: queued(place, other) == 0)
        tried = f"select attempts from shared.mail_queue where tenant = '{acme}'"
        await eventually(lambda: place.rows(tried) == [(0,)])
        assert len(sink.sent) == 1
        place.rows(f"grant usage on schema tenant_{acme} to {place.migrate.app}")
        await asyncio.to_thread(place.rows, "update shared.mail_queue set due_at = now()")
        await eventually(lambda: queued(place, acme) == 0)
    assert len(sink.sent) == 2


async def test_a_mail_belongs_to_a_tenant(notes_app: Any, acme: str) -> None:
    async with opened(notes_app()) as chassis:
        mail = Mail(to="ada@example.com", subject="s", text="t")
        with pytest.raises(TenantRequired):
            async with chassis.database.shared().transaction() as tx:
                await chassis.mailer.add(tx, mail)


async def test_a_tenant_neither_sees_the_queue_nor_adds_to_it_for_another(
    notes_app: Any, place: Place, acme: str, other: str
) -> None:
    async with opened(notes_app()) as chassis:
        async with chassis.tenant(other).transaction() as tx:
            await chassis.mailer.add(tx, Mail(to="ada@example.com", subject="s", text="t"))
        seen = await chassis.tenant(acme).fetch_value("select count(*) from shared.mail_queue")
        changed = await chassis.tenant(acme).execute("delete from shared.mail_queue")
        with pytest.raises(PermissionDenied):
            await chassis.tenant(acme).execute(
                "insert into shared.mail_queue (id, service, tenant)"
                " values (gen_random_uuid(), 'note-service', %s)",
                [other],
            )

    assert (seen, changed.rows_affected) == (0, 0)
    assert queued(place, other) == 1


class Slow(MemoryTransport):
    """Says when it is handed a mail, and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = asyncio.Event(), asyncio.Event()

    async def send(self, message: EmailMessage) -> None:
        self.inside.set()
        await self.go_on.wait()
        await super().send(message)


async def stop_in_the_first(
    app: App, sink: Slow, tenant: str, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Add two mails, and stop the app while it sends the first."""
    async with asyncio.timeout(30), opened(app) as chassis:
        async with chassis.tenant(tenant).transaction() as tx:
            for subject in ("one", "two"):
                mail = Mail(to="ada@example.com", subject=subject, text="t")
                await chassis.mailer.add(tx, mail)
        await sink.inside.wait()
        meanwhile()
        asyncio.get_running_loop().call_later(0.05, sink.go_on.set)


async def test_a_stopping_worker_ends_the_mail_that_it_sends_and_gives_the_others_back(
    notes_app: Any, place: Place, acme: str, eventually: Any
) -> None:
    sink = Slow()
    await stop_in_the_first(notes_app(mail=sink), sink, acme)

    assert len(sink.sent) == 1
    assert queued(place, acme) == 1
    assert place.rows("select due_at <= now(), attempts from shared.mail_queue") == [(True, 0)]
    async with running(notes_app(mail=sink)):
        await eventually(lambda: queued(place, acme) == 0)
    assert sorted(mail["Subject"] for mail in sink.sent) == ["one", "two"]


async def test_a_stopping_worker_gives_back_no_mail_that_is_another_workers_by_now(
    notes_app: Any, place: Place, acme: str
) -> None:
    sink = Slow()
    claim = "update shared.mail_queue set attempts = 2"
    await stop_in_the_first(notes_app(mail=sink), sink, acme, lambda: place.rows(claim))

    assert place.rows("select due_at <= now(), attempts from shared.mail_queue") == [(False, 2)]


async def test_a_worker_that_hangs_does_not_hold_the_end_of_the_program(
    place: Place, acme: str, monkeypatch: pytest.MonkeyPatch, notes_app: Any
) -> None:
    monkeypatch.setattr(worker_module, "STOP", 0.05)
    inside = asyncio.Event()

    class Hangs(MemoryTransport):
        async def send(self, message: EmailMessage) -> None:
            inside.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(30):
        async with opened(notes_app(mail=Hangs())) as chassis:
            async with chassis.tenant(acme).transaction() as tx:
                await chassis.mailer.add(tx, Mail(to="ada@example.com", subject="s", text="t"))
            await inside.wait()

    assert queued(place, acme) == 1


async def test_a_server_that_never_answers_delays_one_mail_and_not_the_next(
    place: Place, acme: str, monkeypatch: pytest.MonkeyPatch, notes_app: Any, eventually: Any
) -> None:
    monkeypatch.setattr(worker_module, "PATIENCE", 0.05)

    class Hangs(MemoryTransport):
        async def send(self, message: EmailMessage) -> None:
            if message["Subject"] == "hangs":
                await asyncio.Event().wait()
            await super().send(message)

    sink = Hangs()
    async with opened(notes_app(mail=sink)) as chassis:
        async with chassis.tenant(acme).transaction() as tx:
            for subject in ("hangs", "next"):
                await chassis.mailer.add(tx, Mail(to="ada@example.com", subject=subject, text="t"))
        await eventually(lambda: sink.sent)
        await eventually(lambda: place.rows("select 1 from shared.mail_queue where attempts = 1"))

    assert [one["Subject"] for one in sink.sent] == ["next"]
    assert queued(place, acme) == 1
