from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

PATH = "/api/auth/api-keys"


async def made(world: Any, person: Any, *scopes: str, **more: Any) -> dict[str, Any]:
    body = {"name": "importer", "scopes": list(scopes), **more}
    answer = await world.http.post(PATH, headers=person.bearer, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    key: dict[str, Any] = answer.json()
    return key


async def exchange(world: Any, key: dict[str, Any]) -> Any:
    return await world.http.post(
        "/api/auth/token",
        data={"grant_type": "client_credentials"},
        auth=(key["client_id"], key["client_secret"]),
    )


async def bearer(world: Any, key: dict[str, Any]) -> dict[str, str]:
    answer = await exchange(world, key)
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_program_acts_for_whoever_made_its_key_within_its_scopes(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme, "admin")
    key = await bearer(world, await made(world, ada, "users:read"))

    assert (await world.http.get("/api/auth/users", headers=key)).status_code == 200
    denied = await world.http.get("/api/auth/audit", headers=key)
    assert (denied.status_code, denied.json()["code"]) == (403, "PERMISSION_MISSING")
    said = (await world.http.get("/api/auth/validate-token", headers=key)).json()
    assert (said["sub"], said["scope"], said["roles"]) == (ada.id, "users:read", ["admin"])


async def test_a_key_never_reaches_further_than_its_owners_present_role(
    world: Any, acme: str
) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme, "viewer")
    key = await made(world, ada, "users:manage", "audit:own")
    denied = await world.http.get("/api/auth/audit", headers=await bearer(world, key))
    await world.http.put(
        f"/api/auth/users/{ada.id}/role", headers=owner.bearer, json={"role": "admin"}
    )
    allowed = await world.http.get("/api/auth/audit", headers=await bearer(world, key))

    assert (denied.status_code, allowed.status_code) == (403, 200)


async def test_a_key_makes_no_keys_and_touches_nothing_of_the_person(world: Any, acme: str) -> None:
    ada = await world.person(acme, "owner")
    key = await bearer(world, await made(world, ada, "users:own"))
    answers = [
        await world.http.post(PATH, headers=key, json={"name": "x", "scopes": ["a:read"]}),
        await world.http.get(PATH, headers=key),
        await world.http.get("/api/auth/profile", headers=key),
        await world.http.patch("/api/auth/profile", headers=key, json={"name": "Eve"}),
        await world.http.delete("/api/auth/sessions", headers=key),
        await world.http.post("/api/auth/logout", headers=key),
        await world.http.post(
            "/api/auth/change-password",
            headers=key,
            json={"current_password": "x", "new_password": "a longer password"},
        ),
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(403, "LOGIN_REQUIRED")}


async def test_a_secret_is_shown_once_and_stored_nowhere(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    key = await made(world, ada, "users:read", expires_in_days=30)
    listed = await world.http.get(PATH, headers=ada.bearer)
    stored = world.rows(acme, "select api_keys::text from api_keys")
    trail = world.rows(acme, "select audit_entries::text from audit_entries")

    assert key["client_secret"] not in listed.text + repr(stored) + repr(trail)
    (item,) = listed.json()["items"]
    assert (item["id"], item["scopes"], item["last_used_at"]) == (key["id"], ["users:read"], None)
    await exchange(world, key)
    again = (await world.http.get(PATH, headers=ada.bearer)).json()["items"][0]
    assert again["last_used_at"] is not None


async def test_a_key_that_is_revoked_or_over_gets_nothing_more(world: Any, acme: str) -> None:
    ada, bob = await world.person(acme), await world.person(acme)
    key, late = await made(world, ada, "users:read"), await made(world, ada, "users:read")
    token = await bearer(world, key)
    foreign = await world.http.delete(f"{PATH}/{key['id']}", headers=bob.bearer)
    done = await world.http.delete(f"{PATH}/{key['id']}", headers=ada.bearer)
    again = await world.http.delete(f"{PATH}/{key['id']}", headers=ada.bearer)
    world.rows(acme, f"update api_keys set expires_at = now() where id = '{late['id']}'")

    assert (foreign.status_code, foreign.json()["code"]) == (404, "API_KEY_NOT_FOUND")
    assert (done.status_code, again.status_code) == (204, 404)
    assert (await exchange(world, key)).status_code == 401
    assert (await exchange(world, late)).status_code == 401
    asked = await world.http.get("/api/auth/validate-token", headers=token)
    assert asked.status_code == 401
    assert (await world.http.get(PATH, headers=ada.bearer)).json()["items"] == []


async def test_the_keys_of_somebody_who_is_disabled_rest(world: Any, acme: str) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme)
    key = await made(world, ada, "users:read")
    await world.http.post(f"/api/auth/users/{ada.id}/disable", headers=owner.bearer)
    assert (await exchange(world, key)).status_code == 401
    await world.http.post(f"/api/auth/users/{ada.id}/enable", headers=owner.bearer)
    assert (await exchange(world, key)).status_code == 200


async def test_a_session_that_is_over_leaves_no_key_behind(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    await world.http.post("/api/auth/logout", headers=ada.bearer)
    answer = await world.http.post(
        PATH, headers=ada.bearer, json={"name": "x", "scopes": ["users:read"]}
    )

    assert answer.status_code == 401
    assert world.rows(acme, "select 1 from api_keys") == []


async def test_a_secret_of_one_key_opens_no_other(world: Any, acme: str, other: str) -> None:
    ada, eve = await world.person(acme), await world.person(other)
    mine, hers = await made(world, ada, "users:read"), await made(world, eve, "users:read")
    mixed = {**mine, "client_secret": hers["client_secret"]}
    moved = {**mine, "client_id": mine["client_id"].replace(acme, other)}

    for key in (mixed, moved):
        assert (await exchange(world, key)).status_code == 401


@pytest.mark.parametrize(
    "scopes", [[], ["users"], ["users:admin"], ["*:*"], ["users:read other:read"], ["x:read"] * 51]
)
async def test_what_is_no_scope_is_refused(standing: Any, acme: str, scopes: list[str]) -> None:
    ada = await standing.person(acme, "owner")
    answer = await standing.http.post(
        PATH, headers=ada.bearer, json={"name": "x", "scopes": scopes}
    )

    assert answer.status_code == 400


async def test_days_are_a_whole_number(standing: Any, acme: str) -> None:
    ada = await standing.person(acme)
    statuses = {}
    for days in (30, 30.0, 0, -1, 3651, 1.5, True, "30", 1e300):
        body = {"name": "x", "scopes": ["users:read"], "expires_in_days": days}
        answer = await standing.http.post(PATH, headers=ada.bearer, json=body)
        statuses[repr(days)] = answer.status_code

    assert [days for days, status in statuses.items() if status == 201] == ["30", "30.0"]
    assert set(statuses.values()) == {201, 400}
