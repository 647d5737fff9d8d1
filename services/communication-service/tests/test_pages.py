"""Cursors that nobody was given: refused, whatever they hold; and every list is read by an index."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from communication_service.queries import activity, email, schedule, task, template
from mtenant_chassis.pages import WHOLE, write_cursor
from mtenant_chassis.testing import Place

pytestmark = pytest.mark.anyio

LISTS = ["/api/activities", "/api/tasks", "/api/emails", "/api/emails/templates"]


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_that_was_made_up_is_refused_and_never_a_fault(
    path: str, service: Any, client: Any, acme: str
) -> None:
    for key in ("1", "x") * 3:
        body = {
            "/api/tasks": {"title": "t"},
            "/api/emails": {"to": "a@example.com", "subject": "s", "text": "t"},
            "/api/emails/templates": {"key": f"a{key}", "name": "n", "subject": "s", "text": "t"},
            "/api/activities": {"kind": "note", "subject": "s"},
        }[path]
        to = "/api/emails/send" if path == "/api/emails" else path
        await client.post(to, json=body, headers=service.bearer(acme))
    page = (await client.get(f"{path}?limit=1", headers=service.bearer(acme))).json()
    padded = page["next_cursor"] + "=" * (-len(page["next_cursor"]) % 4)
    of = json.loads(urlsafe_b64decode(padded))[0]
    zero, far = "00000000-0000-0000-0000-000000000000", "9" * 40
    forged: list[list[object]] = [
        [],
        [far],
        ["\u0000"],
        ["x", zero],
        ["2026-01-01T00:00:00Z", "x"],
        ["2026-01-01T00:00:00Z", zero, zero],
        [1, zero],
        [None, None],
        [{"a": 1}, zero],
    ]
    for keys in forged:
        raw = json.dumps([of, *keys]).encode()
        answer = await client.get(
            path,
            params={"cursor": urlsafe_b64encode(raw).rstrip(b"=").decode()},
            headers=service.bearer(acme),
        )
        assert answer.status_code in {200, 400}, (keys, answer.text)
    other = write_cursor(["2026-01-01T00:00:00Z", zero], "other")
    answer = await client.get(path, params={"cursor": other}, headers=service.bearer(acme))
    assert (answer.status_code, answer.json()["code"]) == (400, "CURSOR_INVALID")


@pytest.fixture(
    scope="module",
    params=[10_000, pytest.param(100_000, marks=pytest.mark.slow)],
    ids=lambda rows: f"{rows:,} rows",
)
def large(place: Place, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A tenant with many rows, and a connection that sees them."""
    tenant = place.tenant()
    options = f"-c search_path=tenant_{tenant} -c jit=off"
    with psycopg.connect(place.admin, autocommit=True, options=options) as conn:
        day = "timestamptz '2026-01-01' + n * interval '1 minute'"
        numbers = f"from generate_series(1, {request.param}) n"
        for statement in (
            "insert into emails (id, status, recipient, subject, body_text, transactional, tracked,"
            " created_by, contact_id, deal_id, created_at, sent_at) select gen_random_uuid(), 'sent',"
            " 'a@example.com', 's', 't', false, true, 'x', gen_random_uuid(), gen_random_uuid(),"
            f" {day}, {day} {numbers}",
            "insert into email_links (email_id, number, url) select id, 0, 'https://example.com' from emails",
            "insert into email_tracking (id, email_id, kind) select gen_random_uuid(), id, 'open' from emails",
            f"insert into email_suppressions select 'a' || n || '@example.com', gen_random_uuid() {numbers}",
            "insert into activities (id, kind, subject, occurred_at, created_by)"
            f" select gen_random_uuid(), 'call', 's', {day}, 'x' {numbers}",
            "insert into activity_links select 'contact', gen_random_uuid(), id, occurred_at from activities",
            "insert into tasks (id, title, due_at, assignee_id, contact_id, company_id, deal_id,"
            f" created_by) select gen_random_uuid(), 't', {day}, 'u' || n % 500, gen_random_uuid(),"
            f" gen_random_uuid(), gen_random_uuid(), 'x' {numbers}",
            "insert into shared.communication_schedule select gen_random_uuid(), 'large', 'email',"
            f" now() + n * interval '1 minute' {numbers}",
            "analyze",
        ):
            conn.execute(statement.encode())
        try:
            yield conn
        finally:
            conn.execute("delete from shared.communication_schedule where tenant = 'large'")


ID = "00000000-0000-7000-8000-000000000001"
NOTHING = {"at": None, "id": None, "limit": 51}
LARGE = {
    *("emails", "email_links", "email_tracking", "email_suppressions", "activities"),
    *("activity_links", "tasks", "communication_schedule"),
}


def filters(names: list[str], **said: object) -> dict[str, object]:
    return {**dict.fromkeys(names), **NOTHING, **said}


TASKS = ["status", "assignee_id", "contact_id", "company_id", "deal_id", "due_before"]
EMAILS = ["status", "contact_id", "deal_id", "template_id"]
PAGE: dict[str, object] = {"at": "2026-01-05T00:00:00Z", "id": ID}
PLANS: list[tuple[str, Any]] = [
    *(
        (task._LIST, filters(TASKS, **{name: ID}))
        for name in ("contact_id", "company_id", "deal_id")
    ),
    (task._LIST, filters(TASKS)),
    (task._LIST, filters(TASKS, **PAGE)),
    (task._LIST, filters(TASKS, status="open", **PAGE)),
    (task._LIST, filters(TASKS, status="done")),
    (task._LIST, filters(TASKS, assignee_id="u7", status="open")),
    (task._LIST, filters(TASKS, due_before="2026-01-02T00:00:00Z")),
    *(
        (task._COUNT, filters(TASKS, **which, limit=None))
        for which in ({"status": "open"}, {"deal_id": ID})
    ),
    (task._BY_ID, [ID]),
    *(
        (email._LIST, filters(EMAILS, **{name: ID}))
        for name in ("contact_id", "deal_id", "template_id")
    ),
    *((email._LIST, filters(EMAILS, status=status)) for status in ("sent", "failed", "scheduled")),
    (email._LIST, filters(EMAILS)),
    (email._LIST, filters(EMAILS, **PAGE)),
    (email._COUNT, filters(EMAILS, contact_id=ID, limit=None)),
    (email._COUNT, filters(EMAILS, status="failed", limit=None)),
    (email._BY_ID, [ID]),
    (email._LINK, [ID, 0]),
    (email._LINKS, [ID]),
    (email._TRACKS, {"email": ID, **NOTHING}),
    (email._COUNT_TRACKS, {"email": ID, **WHOLE}),
    (email._IS_SUPPRESSED, ["a7@example.com"]),
    (
        email._FIGURES,
        {
            "period": "day",
            "template_id": None,
            "begin": "2026-01-02T00:00:00Z",
            "end": "2026-01-03T00:00:00Z",
        },
    ),
    (activity._LIST, filters(["kind"])),
    (activity._LIST, filters(["kind"], kind="meeting")),
    (activity._LIST, filters(["kind"], **PAGE)),
    (activity._TIMELINE, filters(["kind"], entity="contact", entity_id=ID)),
    (activity._TIMELINE, filters(["kind"], entity="deal", entity_id=ID, kind="note", **PAGE)),
    (activity._COUNT, filters(["kind"], kind="meeting", limit=None)),
    (activity._COUNT_TIMELINE, filters(["kind"], entity="contact", entity_id=ID, limit=None)),
    (activity._BY_ID, [ID]),
    (schedule._DUE, [50]),
    (schedule._CLAIM, [ID]),
]
# Of a few rows in any tenant.
SMALL = {
    *(template._BY_ID, template._BY_KEY, template._LIST, template._COUNT),
    *(template._VERSIONS, template._COUNT_VERSIONS, template._VERSION),
}
# Explained with the rest of what they read in the same way.
SAME = {template._LOCK, schedule._ADMIT}


@pytest.mark.parametrize(("statement", "params"), PLANS)
def test_no_large_table_is_read_from_end_to_end(
    large: psycopg.Connection[Any], statement: str, params: Any
) -> None:
    with psycopg.ClientCursor(large) as cursor:
        cursor.execute(f"explain {statement}".encode(), params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    read = set(re.findall(r"Seq Scan on (\w+)", plan))
    assert not read & LARGE, plan


def test_every_select_is_among_those_that_are_explained() -> None:
    known = {statement for statement, _ in PLANS} | SMALL | SAME
    for module in (activity, email, schedule, task, template):
        for name, value in vars(module).items():
            is_select = isinstance(value, str) and value.startswith("select")
            if re.fullmatch("_[A-Z_]+", name) and is_select and name != "_NEWEST":
                assert value in known, (module.__name__, name)
