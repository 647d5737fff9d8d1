from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.testing import seen

pytestmark = pytest.mark.anyio

PATH = "/api/auth/sessions"


async def listed(world: Any, person: Any) -> list[dict[str, Any]]:
    answer = await world.http.get(PATH, headers=person.bearer)
    assert answer.status_code == 200
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_person_sees_where_they_are_logged_in(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    await world.person(acme)  # somebody else
    body = {"tenant": acme, "email": ada.email, "password": "correct horse battery staple"}
    agent = "A phone\x7f " + "x" * 500
    await world.http.post("/api/auth/login", json=body, headers={"user-agent": agent})

    found = await listed(world, ada)
    assert [one["current"] for one in found].count(True) == 1
    assert {one["address"] for one in found} == {"127.0.0.1"}
    (phone,) = (one for one in found if one["user_agent"].startswith("A phone"))
    assert len(phone["user_agent"]) == 256
    assert "\x7f" not in phone["user_agent"]


async def test_one_session_is_ended_and_no_other(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    phone = await world.again(ada)
    (other,) = (one for one in await listed(world, phone) if not one["current"])

    assert (
        await world.http.delete(f"{PATH}/{other['id']}", headers=phone.bearer)
    ).status_code == 204
    again = await world.http.delete(f"{PATH}/{other['id']}", headers=phone.bearer)
    assert (again.status_code, again.json()["code"]) == (404, "SESSION_NOT_FOUND")
    assert (await world.refresh(ada.refresh)).status_code == 401
    assert (await world.refresh(phone.refresh)).status_code == 200


async def test_a_session_of_somebody_else_is_like_one_that_is_not_there(
    world: Any, acme: str, other: str
) -> None:
    ada, bob = await world.person(acme), await world.person(acme)
    eve = await world.person(other, "owner")
    (session,) = await listed(world, bob)
    absent = str(uuid4())
    for person in (ada, eve):
        taken = await world.http.delete(f"{PATH}/{session['id']}", headers=person.bearer)
        missing = await world.http.delete(f"{PATH}/{absent}", headers=person.bearer)
        assert seen(taken, session["id"]) == seen(missing, absent)
        assert taken.status_code == 404
    assert (await world.refresh(bob.refresh)).status_code == 200


async def test_the_token_of_a_session_that_is_over_sees_and_ends_nothing(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    thief = await world.again(ada)
    key = {"name": "k", "scopes": ["users:read"]}
    made = await world.http.post("/api/auth/api-keys", headers=ada.bearer, json=key)
    sessions = await listed(world, ada)
    await world.http.delete(f"{PATH}?keep_current=true", headers=ada.bearer)
    (own,) = (one["id"] for one in sessions if one["current"])

    answers = [
        await world.http.request(method, url, headers=thief.bearer, json=body)
        for method, url, body in (
            ("GET", PATH, None),
            ("DELETE", PATH, None),
            ("DELETE", f"{PATH}/{own}", None),
            ("GET", "/api/auth/api-keys", None),
            ("POST", "/api/auth/api-keys", key),
            ("DELETE", f"/api/auth/api-keys/{made.json()['id']}", None),
            ("GET", "/api/auth/profile", None),
            ("PATCH", "/api/auth/profile", {"name": "Eve"}),
            (
                "POST",
                "/api/auth/change-password",
                {"current_password": "x", "new_password": "a longer password"},
            ),
        )
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(401, "TOKEN_INVALID")}
    assert (await world.refresh(ada.refresh)).status_code == 200
    assert (
        len((await world.http.get("/api/auth/api-keys", headers=ada.bearer)).json()["items"]) == 1
    )


async def test_every_session_is_ended(world: Any, acme: str) -> None:
    ada, bob = await world.person(acme), await world.person(acme)
    phone = await world.again(ada)

    assert (await world.http.delete(PATH, headers=phone.bearer)).status_code == 204
    for person in (ada, phone):
        assert (await world.refresh(person.refresh)).status_code == 401
    assert (await world.refresh(bob.refresh)).status_code == 200


async def test_every_session_but_this_one_is_ended(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    phone = await world.again(ada)

    answer = await world.http.delete(f"{PATH}?keep_current=true", headers=phone.bearer)
    assert answer.status_code == 204
    assert (await world.refresh(ada.refresh)).status_code == 401
    assert (await world.refresh(phone.refresh)).status_code == 200
    assert [one["current"] for one in await listed(world, phone)] == [True]
