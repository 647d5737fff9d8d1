"""Reminders and mails that are due: done once, by however many schedulers, whatever dies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from communication_service import scheduler as scheduler_module
from communication_service.domain.order import Plan
from communication_service.handlers.scheduled import ScheduledEmails
from communication_service.scheduler import Scheduler
from mtenant_chassis.testing import Place, running

pytestmark = pytest.mark.anyio

NEVER = "2199-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: no app but this file's looks into its schedule."""
    from communication_service import MIGRATIONS  # noqa: PLC0415 - this fixture's own

    return Place.make(postgres_dsn, {"communication": MIGRATIONS})


@pytest.fixture
def acme(lonely: Place) -> str:
    lonely.rows("truncate shared.communication_schedule, shared.mail_queue")
    return lonely.tenant()


@pytest.fixture
async def quiet(
    make_service: Any, lonely: Place, acme: str, monkeypatch: Any
) -> AsyncIterator[Any]:
    """A service whose own scheduler does nothing: tests take its turns. The queues are empty before it starts."""

    async def nothing(self: Scheduler) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Scheduler, "run", nothing)
    service = make_service(at=lonely)
    async with running(service.app) as client:
        service.client = client
        yield service


def schedulers(service: Any, count: int) -> list[Scheduler]:
    return [Scheduler(service.app.state.chassis, service.own) for _ in range(count)]


async def tasks(service: Any, tenant: str, count: int, assignee: str | None = None) -> list[str]:
    """Add tasks whose reminders are due."""
    made = []
    for number in range(count):
        body = {"title": f"Call {number}", "remind_at": NEVER, "assignee_id": assignee}
        answer = await service.client.post(
            "/api/tasks", json=body, headers=service.bearer(tenant, "member")
        )
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
    due(service, made)
    return made


def due(service: Any, ids: list[str]) -> None:
    """Let time go on for what is scheduled."""
    named = ", ".join(f"'{one}'" for one in ids)
    service.place.rows(
        f"update shared.communication_schedule set due_at = now() where id in ({named})"
    )


def left(service: Any) -> int:
    return int(service.place.rows("select count(*) from shared.communication_schedule")[0][0])


async def test_five_schedulers_fire_each_reminder_once(
    quiet: Any, acme: str, eventually: Any
) -> None:
    assignee = quiet.others.add(acme, "user", email="grace@example.com", name="Grace")
    ids = await tasks(quiet, acme, 20, assignee)
    five = schedulers(quiet, 5)
    done = await asyncio.gather(*(one.turn() for one in five))
    assert sum(done) == 20
    fired = "select count(*) from tasks where reminded_at is not null"
    assert quiet.rows(acme, fired) == [(20,)]
    assert quiet.rows(acme, "select count(*) from emails") == [(20,)]
    assert left(quiet) == 20  # their mails
    while left(quiet):
        await asyncio.gather(*(one.turn() for one in five))
    await eventually(lambda: len(quiet.told("EmailSent", acme)) == 20)
    assert len(quiet.mails_to("grace@example.com")) == 20
    assert {mail["Subject"] for mail in quiet.mails.sent} == {
        f"Reminder: Call {n}" for n in range(20)
    }
    (mail, *_) = quiet.mails.sent
    assert mail["List-Unsubscribe"] is None  # somebody has to know
    assert b"/t/" not in mail.as_bytes()
    assert quiet.rows(acme, "select count(*) from activities") == [(0,)]
    task = await quiet.client.get(f"/api/tasks/{ids[0]}", headers=quiet.bearer(acme))
    assert (task.json()["version"], task.json()["reminded_at"] is not None) == (2, True)


async def test_what_is_not_due_or_done_or_gone_does_not_fire(quiet: Any, acme: str) -> None:
    member, manager = quiet.bearer(acme, "member"), quiet.bearer(acme)
    (one,) = schedulers(quiet, 1)
    first, second, third = await tasks(quiet, acme, 3)
    await quiet.client.post(f"/api/tasks/{first}/complete", headers=member)
    await quiet.client.delete(f"/api/tasks/{second}", headers=manager)
    await quiet.client.post(f"/api/tasks/{third}/snooze", json={"until": NEVER}, headers=member)
    assert await one.turn() == 0
    due(quiet, [third])
    assert await one.turn() == 1
    assert quiet.rows(acme, "select count(*) from emails") == [(1,)]
    snoozed = await quiet.client.post(
        f"/api/tasks/{third}/snooze", json={"until": NEVER}, headers=member
    )
    assert snoozed.json()["reminded_at"] is None
    due(quiet, [third])
    while await one.turn():
        pass
    assert quiet.rows(acme, "select count(*) from emails") == [(2,)]


async def test_a_reminder_waits_for_whoever_changes_its_task(quiet: Any, acme: str) -> None:
    (one,) = schedulers(quiet, 1)
    (task,) = await tasks(quiet, acme, 1)
    async with quiet.app.state.chassis.tenant(acme).transaction() as tx:
        await tx.execute("update tasks set title = 'changed' where id = %s", [task])
        # In a task of its own: this one's transaction is open.
        assert await asyncio.create_task(one.turn()) == 0
    assert await one.turn() == 1
    (values,) = quiet.rows(acme, "select template_values ->> 'title' from emails")
    assert values == ("changed",)


@pytest.fixture
def plan(quiet: Any, acme: str) -> Any:
    """Have a mail sent to whoever is named, at once."""
    emails = ScheduledEmails(quiet.app.state.chassis, quiet.own)

    async def planned(template: str = "deal-won-thanks", **said: Any) -> str | None:
        values = {"deal_name": "D\nBcc: x@example.com"}
        usual: dict[str, Any] = {"values": values, "transactional": False, "created_by": "x:y"}
        async with quiet.app.state.chassis.tenant(acme).transaction() as tx:
            made = await emails.plan(tx, Plan(template, **usual, **said))
        return None if made is None else str(made)

    return planned


def state(service: Any, tenant: str, which: str) -> Any:
    """Return status and error of a mail."""
    return service.rows(tenant, f"select status, error from emails where id = '{which}'")[0]


async def test_a_reader_who_cannot_be_looked_up_now_is_looked_up_later_but_not_for_ever(
    quiet: Any, acme: str, plan: Any, monkeypatch: Any
) -> None:
    (one,) = schedulers(quiet, 1)
    contacts = quiet.app.state.chassis.service("contact-service")
    which = await plan(contact_id=quiet.others.contact(acme))
    quiet.others.strict.add("contact-service")  # an operator will mend it
    assert await one.turn() == 0
    assert state(quiet, acme, which) == ("scheduled", None)
    quiet.others.strict.clear()
    quiet.others.away.add("contact-service")
    due(quiet, [which])
    assert await one.turn() == 0
    assert state(quiet, acme, which) == ("scheduled", None)
    waits = "select attempts, due_at > now() from shared.communication_schedule"
    assert quiet.place.rows(waits) == [(2, True)]
    monkeypatch.setattr(scheduler_module, "ATTEMPTS", 2)
    contacts.breaker.succeeded()
    due(quiet, [which])
    assert await one.turn() == 0
    assert state(quiet, acme, which) == ("failed", "CALLEE_UNAVAILABLE")
    assert left(quiet) == 0


async def test_a_mail_that_nobody_can_or_may_get_says_why(quiet: Any, acme: str, plan: Any) -> None:
    (one,) = schedulers(quiet, 1)
    contact = quiet.others.contact(acme)
    good = await plan(contact_id=contact)
    nobody = await plan(contact_id="00000000-0000-7000-8000-000000000000")
    silent = await plan(contact_id=quiet.others.contact(acme, email=None))
    bad = await plan(recipient="not an address")
    while await one.turn():
        pass
    assert state(quiet, acme, good)[0] in {"queued", "sent"}
    assert state(quiet, acme, nobody) == ("failed", "RELATED_NOT_FOUND")
    assert state(quiet, acme, silent) == ("failed", "ADDRESS_MISSING")
    assert state(quiet, acme, bad) == ("failed", "ADDRESS_MISSING")
    quiet.rows(acme, "insert into email_suppressions values ('ada@example.com', gen_random_uuid())")
    unwanted = await plan(contact_id=contact)
    await one.turn()
    assert state(quiet, acme, unwanted) == ("failed", "RECIPIENT_UNSUBSCRIBED")
    quiet.rows(acme, "delete from email_suppressions")
    late = await plan(contact_id=contact)
    quiet.rows(acme, "update email_templates set archived_at = now()")
    await one.turn()
    assert state(quiet, acme, late) == ("failed", "TEMPLATE_NOT_FOUND")
    assert await plan("welcome") is None


async def test_what_fails_does_not_stop_what_is_behind_it(
    quiet: Any, acme: str, lonely: Place
) -> None:
    gone, closed = await lonely.new_tenant(), await lonely.new_tenant()
    for tenant in (gone, closed, acme):
        await tasks(quiet, tenant, 1)
    lonely.rows(f"drop schema tenant_{gone} cascade")
    lonely.rows(f"delete from shared.tenants where id = '{gone}'")
    lonely.rows(f"revoke usage on schema tenant_{closed} from {lonely.migrate.app}")
    (one,) = schedulers(quiet, 1)
    assert await one.turn() == 1
    assert quiet.rows(acme, "select count(*) from emails") == [(1,)]
    rows = lonely.rows("select tenant, attempts from shared.communication_schedule")
    assert sorted(rows) == sorted([(closed, 0), (acme, 0)])


async def test_while_a_tenant_is_suspended_its_mails_use_no_attempt_up(
    quiet: Any, acme: str, plan: Any, lonely: Place, monkeypatch: Any
) -> None:
    monkeypatch.setattr(scheduler_module, "ATTEMPTS", 2)
    (one,) = schedulers(quiet, 1)
    which = await plan(contact_id=quiet.others.contact(acme))
    waits = "select attempts, due_at > now() from shared.communication_schedule"
    lonely.rows(f"revoke usage on schema tenant_{acme} from {lonely.migrate.app}")
    for _ in range(5):
        due(quiet, [which])
        assert await one.turn() == 0
        assert lonely.rows(waits) == [(0, True)]
    lonely.rows(f"grant usage on schema tenant_{acme} to {lonely.migrate.app}")
    quiet.others.away.add("contact-service")
    due(quiet, [which])
    assert await one.turn() == 0
    assert state(quiet, acme, which) == ("scheduled", None)
    quiet.others.away.clear()
    quiet.app.state.chassis.service("contact-service").breaker.succeeded()
    due(quiet, [which])
    assert await one.turn() == 1
    assert state(quiet, acme, which)[0] in {"queued", "sent"}


STEPS = ["claim", "remind", "plan", "remove", "commit"]


async def test_a_scheduler_that_is_killed_anywhere_leaves_a_reminder_that_fires_once(
    quiet: Any, acme: str, lonely: Place
) -> None:
    program = [sys.executable, str(Path(__file__).with_name("killed.py")), lonely.app]
    run = await asyncio.create_subprocess_exec(
        *program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert run.stdin is not None
    assert run.stdout is not None
    try:
        for number, step in enumerate(f"{s}:{w}" for s in STEPS for w in ("before", "after")):
            (task,) = await tasks(quiet, acme, 1)
            run.stdin.write(f"{step}\n".encode())
            assert await run.stdout.readline() == b"-9\n", step
            for one in schedulers(quiet, 2):
                await one.turn()
            fired = f"select reminded_at is not null from tasks where id = '{task}'"
            assert quiet.rows(acme, fired) == [(True,)], step
            assert quiet.rows(acme, "select count(*) from emails") == [(number + 1,)], step
    finally:
        run.stdin.close()
        await run.wait()
    while left(quiet):
        await schedulers(quiet, 1)[0].turn()
