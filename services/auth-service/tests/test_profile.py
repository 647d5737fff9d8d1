from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

PATH = "/api/auth/profile"


async def test_a_person_sees_themselves_and_nothing_that_opens_the_account(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme, "viewer")
    answer = await world.http.get(PATH, headers=ada.bearer)

    said = answer.json()
    assert (said["id"], said["email"], said["role"]) == (ada.id, ada.email, "viewer")
    assert "password" not in answer.text
    assert "argon2" not in answer.text
    same = await world.http.get(
        PATH, headers={**ada.bearer, "if-none-match": answer.headers["etag"]}
    )
    assert (same.status_code, same.content) == (304, b"")


async def test_a_person_changes_the_name_even_as_a_viewer(world: Any, acme: str) -> None:
    ada = await world.person(acme, "viewer")
    answer = await world.http.patch(PATH, headers=ada.bearer, json={"name": "  Ada L. "})

    assert (answer.status_code, answer.json()["name"]) == (200, "Ada L.")
    assert answer.headers["etag"] == '"v2"'
    assert (await world.http.get(PATH, headers=ada.bearer)).json()["name"] == "Ada L."
    rows = world.rows(acme, "select before, after from audit_entries where action = 'user.renamed'")
    assert rows == [({"name": ada.email.partition("@")[0]}, {"name": "Ada L."})]


async def test_a_change_of_what_was_read_long_ago_is_refused(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    stale = {**ada.bearer, "if-match": '"v1"'}
    first = await world.http.patch(PATH, headers=stale, json={"name": "Ada"})
    second = await world.http.patch(PATH, headers=stale, json={"name": "Eve"})

    assert (first.status_code, second.status_code) == (200, 412)
    assert (await world.http.get(PATH, headers=ada.bearer)).json()["name"] == "Ada"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "   "},
        {"name": "a\nb"},
        {"name": "a\0b"},
        {"name": "x" * 201},
        {"name": None},
        {"name": "Ada", "role": "owner"},
        {"name": "Ada", "email": "eve@example.com"},
        {"name": "Ada", "status": "active"},
    ],
)
async def test_nothing_else_is_changed(standing: Any, acme: str, body: dict[str, Any]) -> None:
    ada = await standing.person(acme, "viewer")
    answer = await standing.http.patch(PATH, headers=ada.bearer, json=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert standing.rows(acme, "select role, version from users") == [("viewer", 1)]


async def test_a_session_that_is_over_changes_nothing(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    await world.http.post("/api/auth/logout", headers=ada.bearer)

    answer = await world.http.patch(PATH, headers=ada.bearer, json={"name": "Eve"})
    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID")


async def test_a_service_has_no_profile(world: Any, acme: str) -> None:
    service = await world.service_bearer(acme)
    answer = await world.http.get(PATH, headers=service)

    assert (answer.status_code, answer.json()["code"]) == (403, "LOGIN_REQUIRED")
