"""Tasks: whose, until when, and when to be reminded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.testing import read_list

pytestmark = pytest.mark.anyio

SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def add(client: Any, headers: dict[str, str], **said: Any) -> Any:
    answer = await client.post("/api/tasks", json={"title": "Call", **said}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def scheduled(service: Any, task: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = service.place.rows(
        f"select kind, due_at from shared.communication_schedule where id = '{task}'"
    )
    return found


async def test_a_task_is_the_callers_unless_somebody_is_named_who_is_there(
    service: Any, client: Any, acme: str
) -> None:
    member = service.bearer(acme, "member", user="u7")
    assert (await add(client, member))["assignee_id"] == "u7"
    assert (await add(client, member, assignee_id="u7"))["assignee_id"] == "u7"
    other = service.others.add(acme, "user", email="g@example.com", name="Grace")
    assert (await add(client, member, assignee_id=other))["assignee_id"] == other
    said: dict[str, Any]
    for said in (
        {"assignee_id": "nobody"},
        {"contact_id": str(uuid4())},
        {"deal_id": str(uuid4())},
    ):
        answer = await client.post("/api/tasks", json={"title": "x", **said}, headers=member)
        assert (answer.status_code, answer.json()["code"]) == (422, "RELATED_NOT_FOUND")
    for said in ({"assignee_id": "a/b"}, {"title": ""}, {"due_at": 1}, {"due_at": "2026-01-01"}):
        answer = await client.post("/api/tasks", json={"title": "x", **said}, headers=member)
        assert answer.status_code == 400, said


async def test_the_schedule_has_what_the_task_says(service: Any, client: Any, acme: str) -> None:
    member = service.bearer(acme, "member")
    task = await add(client, member, remind_at=SOON)
    url, which = f"/api/tasks/{task['id']}", task["id"]
    assert scheduled(service, which) == [("reminder", datetime.fromisoformat(SOON))]
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    changed = await client.patch(url, json={"remind_at": later}, headers=member)
    assert changed.status_code == 200, changed.text
    assert scheduled(service, which)[0][1] == datetime.fromisoformat(later)
    done = await client.post(f"{url}/complete", headers=member)
    assert (done.json()["status"], done.json()["completed_by"]) == ("done", "user:u1")
    assert scheduled(service, which) == []
    closed = await client.post(f"{url}/snooze", json={"until": SOON}, headers=member)
    assert (closed.status_code, closed.json()["code"]) == (409, "TASK_CLOSED")
    again = await client.post(f"{url}/complete", headers=member)
    assert again.json()["version"] == done.json()["version"]
    reopened = await client.post(f"{url}/reopen", headers=member)
    assert reopened.json()["completed_at"] is None
    assert (await client.post(f"{url}/reopen", headers=member)).json() == reopened.json()
    assert len(scheduled(service, which)) == 1
    snoozed = await client.post(
        f"{url}/snooze", json={"until": SOON}, headers={**member, "if-match": '"v4"'}
    )
    assert snoozed.status_code == 200
    assert scheduled(service, which)[0][1] == datetime.fromisoformat(SOON)
    assert (
        await client.post(
            f"{url}/snooze", json={"until": SOON}, headers={**member, "if-match": '"v4"'}
        )
    ).status_code == 412
    await client.patch(url, json={"remind_at": None}, headers=member)
    assert scheduled(service, which) == []
    await client.patch(url, json={"remind_at": SOON}, headers=member)
    assert (await client.delete(url, headers=service.bearer(acme))).status_code == 204
    assert scheduled(service, which) == []
    for method, path in (("get", url), ("post", f"{url}/complete"), ("post", f"{url}/reopen")):
        assert (await getattr(client, method)(path, headers=member)).status_code == 404


async def test_a_list_is_in_the_order_in_which_tasks_are_due(
    service: Any, client: Any, acme: str
) -> None:
    member, contact = service.bearer(acme, "member"), service.others.contact(acme)
    days: list[int | None] = [3, None, 1, 2, None]
    made = []
    for day in days:
        due = None if day is None else f"2026-03-0{day}T00:00:00Z"
        made.append(await add(client, member, due_at=due, contact_id=contact if day else None))

    async def tasks(**query: Any) -> list[dict[str, Any]]:
        return await read_list(client, "/api/tasks", member, **query)

    seen = await tasks(status="open")
    assert [one["due_at"] and int(one["due_at"][9]) for one in seen] == [1, 2, 3, None, None]
    assert len(await tasks(due_before="2026-03-02T12:00:00Z")) == 2
    assert len(await tasks(contact_id=contact)) == 3
    assert await tasks(assignee_id="u9") == []
    assert await tasks(status="done") == []


async def test_of_twenty_who_change_what_they_read_one_gets_through(
    service: Any, client: Any, acme: str
) -> None:
    member = service.bearer(acme, "member")
    task = await add(client, member)
    headers = {**member, "if-match": '"v1"'}
    answers = await asyncio.gather(
        *(
            client.patch(f"/api/tasks/{task['id']}", json={"title": f"t{n}"}, headers=headers)
            for n in range(20)
        )
    )
    assert sorted(one.status_code for one in answers) == [200, *[412] * 19]
    for body in ({"title": None}, {"assignee_id": None}, {"status": "done"}):
        answer = await client.patch(f"/api/tasks/{task['id']}", json=body, headers=member)
        assert answer.status_code == 400
