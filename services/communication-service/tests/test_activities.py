"""Activities and the timelines in which they stand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_chassis.testing import read_list

pytestmark = pytest.mark.anyio


async def note(client: Any, headers: dict[str, str], **said: Any) -> Any:
    body = {"kind": "call", "subject": "A call", **said}
    answer = await client.post("/api/activities", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_activity_stands_in_the_timelines_of_all_that_it_is_about(
    service: Any, client: Any, acme: str
) -> None:
    member = service.bearer(acme, "member")
    contact = service.others.contact(acme)
    company = service.others.add(acme, "company", name="C")
    deal = service.others.add(acme, "deal", name="D")
    made = await note(
        client,
        member,
        kind="meeting",
        direction="outbound",
        duration_minutes=30,
        contact_ids=[contact, contact],
        company_ids=[company],
        deal_ids=[deal],
    )
    assert made["contact_ids"] == [contact]
    await note(client, member)
    for query in ({"contact_id": contact}, {"company_id": company}, {"deal_id": deal}):
        assert await read_list(client, "/api/activities", member, **query) == [made]
    assert len(await read_list(client, "/api/activities", member, limit=1)) == 2
    assert await read_list(client, "/api/activities", member, contact_id=company) == []
    two = await client.get(f"/api/activities?contact_id={contact}&deal_id={deal}", headers=member)
    assert (two.status_code, two.json()["code"]) == (400, "TIMELINE_AMBIGUOUS")
    told = service.told("ActivityLogged", acme)
    assert {one.activity_id for one in told} >= {made["id"]}
    assert (told[0].kind, told[0].deal_ids) == ("meeting", [deal])


async def test_a_timeline_is_paged_newest_first_whatever_is_noted_meanwhile(
    service: Any, client: Any, acme: str
) -> None:
    member, contact = service.bearer(acme, "member"), service.others.contact(acme)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    ids = []
    for day in (3, 1, 2, 2, 5):
        at = (begin + timedelta(days=day)).isoformat()
        made = await note(client, member, occurred_at=at, contact_ids=[contact])
        ids.append((at, made["id"]))
    url, seen = f"/api/activities?contact_id={contact}&limit=2", []
    while url:
        page = await client.get(url, headers=member)
        seen += [one["id"] for one in page.json()["items"]]
        url = page.links.get("next", {}).get("url")
        await note(client, member, occurred_at="2027-01-01T00:00:00Z", contact_ids=[contact])
    assert seen == [which for _, which in sorted(ids, reverse=True)]
    calls = await client.get(f"/api/activities?contact_id={contact}&kind=note", headers=member)
    assert calls.json()["items"] == []


async def test_a_change_moves_it_between_timelines_and_needs_what_was_read(
    service: Any, client: Any, acme: str
) -> None:
    member = service.bearer(acme, "member")
    first, second = service.others.contact(acme), service.others.contact(acme)
    made = await note(client, member, body="b", contact_ids=[first])
    url = f"/api/activities/{made['id']}"
    changed = await client.patch(
        url,
        json={"subject": "Another", "contact_ids": [second]},
        headers={**member, "if-match": '"v1"'},
    )
    assert changed.status_code == 200, changed.text
    assert (changed.json()["subject"], changed.json()["body"]) == ("Another", "b")
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"v2"')
    for contact, count in ((first, 0), (second, 1)):
        found = await client.get(f"/api/activities?contact_id={contact}", headers=member)
        assert len(found.json()["items"]) == count
    stale = await client.patch(url, json={"body": "x"}, headers={**member, "if-match": '"v1"'})
    assert stale.status_code == 412
    for body in ({"kind": "note"}, {"subject": None}, {"subject": ""}, {"duration_minutes": True}):
        assert (await client.patch(url, json=body, headers=member)).status_code == 400
    gone = await client.patch(url, json={"deal_ids": [str(uuid4())]}, headers=member)
    assert (gone.status_code, gone.json()["code"]) == (422, "RELATED_NOT_FOUND")
    manager = service.bearer(acme)
    assert (await client.delete(url, headers=member)).status_code == 403
    assert (await client.delete(url, headers=manager)).status_code == 204
    assert (await client.get(url, headers=member)).status_code == 404
    assert (await client.delete(url, headers=manager)).status_code == 404
    assert service.rows(acme, "select count(*) from activity_links") == [(0,)]


async def test_of_twenty_who_change_what_they_read_one_gets_through(
    service: Any, client: Any, acme: str
) -> None:
    member = service.bearer(acme, "member")
    made = await note(client, member)
    answers = await asyncio.gather(
        *(
            client.patch(
                f"/api/activities/{made['id']}",
                json={"subject": f"s{n}"},
                headers={**member, "if-match": '"v1"'},
            )
            for n in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 19]


async def test_what_another_tenant_has_is_not_there(
    service: Any, client: Any, acme: str, place: Any
) -> None:
    other = await place.new_tenant()
    theirs = service.others.contact(other)
    body = {"kind": "note", "subject": "s", "contact_ids": [theirs]}
    answer = await client.post("/api/activities", json=body, headers=service.bearer(acme, "member"))
    assert (answer.status_code, answer.json()["code"]) == (422, "RELATED_NOT_FOUND")


async def test_one_key_notes_once(service: Any, client: Any, acme: str) -> None:
    headers = {**service.bearer(acme, "member"), "idempotency-key": "n1"}
    body = {"kind": "note", "subject": "once"}
    answers = await asyncio.gather(
        *(client.post("/api/activities", json=body, headers=headers) for _ in range(20))
    )
    assert {one.status_code for one in answers} <= {201, 409}
    assert service.rows(acme, "select count(*) from activities") == [(1,)]
    added = len(service.told("ActivityLogged", acme))
    assert added == 1


@settings(max_examples=100)
@given(st.text())
def test_a_line_has_no_character_that_ends_one(text: str) -> None:
    from communication_service.domain.text import as_one_line, is_one_line  # noqa: PLC0415

    assert is_one_line(as_one_line(text))
    assert len(as_one_line(text)) == len(text)
    if is_one_line(text):
        assert as_one_line(text) == text
        assert len(text.splitlines()) <= 1
