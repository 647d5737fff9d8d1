"""Templates: checked, versioned, previewed, archived."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.testing import read_list

pytestmark = pytest.mark.anyio

BODY = {
    "key": "offer",
    "name": "Offer",
    "subject": "For {{ name }}",
    "text": "Dear {{ name }}{% if more %}, {{ more }}{% endif %}",
    "html": "<b>{{ name }}</b>",
    "variables": [{"name": "name"}, {"name": "more", "default": ""}],
}


def content(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BODY, **changes}.items() if name != "key"}


async def test_every_change_is_a_version_and_those_before_stay(
    service: Any, client: Any, acme: str
) -> None:
    manager = service.bearer(acme)
    added = await client.post("/api/emails/templates", json=BODY, headers=manager)
    assert added.status_code == 201, added.text
    url = added.headers["location"]
    assert (added.json()["version"], added.headers["etag"]) == (1, '"v1"')
    second = await client.put(
        url, json=content(text="Hello {{ name }}"), headers={**manager, "if-match": '"v1"'}
    )
    assert (second.status_code, second.json()["version"]) == (200, 2)
    stale = await client.put(url, json=content(), headers={**manager, "if-match": '"v1"'})
    assert stale.status_code == 412
    versions = await read_list(client, f"{url}/versions", manager, limit=1)
    assert [one["version"] for one in versions] == [2, 1]
    first = await client.get(f"{url}/versions/1", headers=manager)
    assert first.json()["text"] == BODY["text"]
    assert (await client.get(f"{url}/versions/3", headers=manager)).status_code == 404
    assert (await client.get(f"{url}/versions/0", headers=manager)).status_code == 400

    assert (await client.delete(url, headers=manager)).status_code == 204
    assert (await client.get(url, headers=manager)).status_code == 404
    assert (await client.put(url, json=content(), headers=manager)).status_code == 404
    for gone in ("versions", "versions/1"):
        assert (await client.get(f"{url}/{gone}", headers=manager)).status_code == 404
    archived = await client.post(f"{url}/preview", json={"version": 1}, headers=manager)
    assert archived.status_code == 404  # with a version as without
    again = await client.post("/api/emails/templates", json=BODY, headers=manager)
    assert again.status_code == 201  # its key is free again


async def test_a_preview_says_what_a_mail_would_say_and_sends_none(
    service: Any, client: Any, acme: str
) -> None:
    viewer = service.bearer(acme, "viewer")
    added = await client.post("/api/emails/templates", json=BODY, headers=service.bearer(acme))
    url = added.headers["location"]
    made = await client.post(
        f"{url}/preview", json={"values": {"name": "<Ada>", "more": "you"}}, headers=viewer
    )
    assert made.json() == {
        "subject": "For <Ada>",
        "text": "Dear <Ada>, you",
        "html": "<b>&lt;Ada&gt;</b>",
    }
    await client.put(url, json=content(text="new"), headers=service.bearer(acme))
    old = await client.post(
        f"{url}/preview", json={"values": {"name": "x"}, "version": 1}, headers=viewer
    )
    assert old.json()["text"] == "Dear x"
    unknown = await client.post(f"{url}/preview", json={"version": 3}, headers=viewer)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "VERSION_UNKNOWN")
    missing = await client.post(f"{url}/preview", json={}, headers=viewer)
    assert (missing.status_code, missing.json()["code"]) == (422, "VALUES_INVALID")
    absent = f"/api/emails/templates/{uuid4()}/preview"
    assert (await client.post(absent, json={}, headers=viewer)).status_code == 404
    assert service.rows(acme, "select count(*) from emails") == [(0,)]
    assert service.mails.sent == []


async def test_what_may_do_too_much_is_not_stored_and_not_repeated(
    service: Any, client: Any, acme: str
) -> None:
    manager = service.bearer(acme)
    wrong: list[dict[str, Any]] = [
        {"text": "{{ name.__class__ }}"},
        {"html": "{% for x in name %}{% endfor %}"},
        {"subject": "{{ other }}"},
        {"variables": [{"name": "name"}, {"name": "name"}]},
    ]
    for said in wrong:
        answer = await client.post("/api/emails/templates", json={**BODY, **said}, headers=manager)
        assert (answer.status_code, answer.json()["code"]) == (422, "TEMPLATE_INVALID"), said
        assert "__class__" not in answer.text
    found = await client.get("/api/emails/templates", headers=manager)
    assert "offer" not in {one["key"] for one in found.json()["items"]}


async def test_a_key_is_one_templates_of_twenty_who_want_it_at_once(
    service: Any, client: Any, acme: str
) -> None:
    answers = await asyncio.gather(
        *(
            client.post("/api/emails/templates", json=BODY, headers=service.bearer(acme))
            for _ in range(20)
        )
    )
    assert sorted(one.status_code for one in answers) == [201, *[409] * 19]


async def test_a_tenant_begins_with_templates_that_are_good_ones(
    service: Any, client: Any, acme: str
) -> None:
    from communication_service.domain.template import Source, Variable, check  # noqa: PLC0415

    items = await read_list(client, "/api/emails/templates", service.bearer(acme), limit=3)
    assert [one["key"] for one in items] == [
        "deal-won-check-in",
        "deal-won-thanks",
        "task-reminder",
        "welcome",
    ]
    for one in items:
        variables = [Variable.model_validate(it) for it in one["variables"]]
        check(Source(one["subject"], one["text"], one["html"], variables))
