from __future__ import annotations

from typing import Any

import pytest

from mtenant_chassis import Principal, Router, requires
from mtenant_chassis.auth import ROLES, VERBS, permits
from mtenant_chassis.auth.permissions import covers
from mtenant_chassis.testing import Issuer, running, seen

pytestmark = pytest.mark.anyio


def test_roles_and_verbs_are_one_ladder() -> None:
    for rank, role in enumerate(ROLES):
        for reach, verb in enumerate(VERBS):
            assert permits([role], f"notes:{verb}") is (reach <= rank)


@pytest.mark.parametrize("roles", [[], ["root"], ["Owner"], ["read"], [""], ["*"]])
def test_an_unknown_role_may_nothing(roles: list[str]) -> None:
    assert not permits(roles, "notes:read")


@pytest.mark.parametrize(
    "permission", ["", "notes", "notes:", "notes:admin", ":read", "Notes:read", "*:read"]
)
def test_what_is_no_permission_is_a_fault_of_the_program(permission: str) -> None:
    with pytest.raises(ValueError, match="no permission"):
        requires(permission)


def test_a_scope_limits_a_person_and_entitles_a_service() -> None:
    key = Principal(id="u", tenant="a", roles=("owner",), scopes=("notes:write",))
    service = Principal(id="s", tenant="a", scopes=("notes:write",), kind="service")
    bare = Principal(id="s", tenant="a", roles=("owner",), kind="service")

    assert key.may("notes:read")
    assert key.may("notes:write")
    assert not key.may("notes:delete")
    assert not key.may("deals:read")
    assert service.may("notes:write")
    assert not service.may("deals:read")
    assert not bare.may("notes:read")


def test_a_scope_that_is_none_covers_nothing() -> None:
    assert not covers(["notes", "notes:", "notes:all", "", ":read"], "notes:read")


def test_a_route_that_says_nothing_about_its_callers_does_not_come_into_being() -> None:
    router = Router()
    with pytest.raises(TypeError, match="says nothing about its callers"):

        @router.get("/a")
        async def forgotten() -> None: ...


def test_a_route_that_says_two_things_does_not_either() -> None:
    router = Router()
    with pytest.raises(TypeError, match="two things"):

        @router.get("/a", dependencies=[requires("a:read"), requires("b:read")])
        async def undecided() -> None: ...


async def test_who_may_what(notes_app: Any, issuer: Issuer, acme: str) -> None:
    stranger = Issuer()
    service = issuer.service_token
    tokens = {
        "none": {},
        "viewer": issuer.bearer(acme, "viewer"),
        "member": issuer.bearer(acme, "member"),
        "roleless": issuer.bearer(acme),
        "forged": stranger.bearer(acme, "owner"),
        "expired": issuer.bearer(acme, "owner", expires=1000.0),
        "service": {
            "authorization": "Bearer "
            + service("deal-service", audience="note-service", tenant=acme, scopes=("notes:read",))
        },
        "unscoped service": {
            "authorization": "Bearer "
            + service("deal-service", audience="note-service", tenant=acme)
        },
        "service elsewhere": {
            "authorization": "Bearer "
            + service("a", audience="deal-service", scopes=("notes:read",))
        },
        "service of no tenant": {
            "authorization": "Bearer "
            + service("a", audience="note-service", scopes=("notes:read",))
        },
    }
    expected = {
        ("GET", "/api/notes"): dict(
            zip(tokens, [401, 200, 200, 403, 401, 401, 200, 403, 401, 403], strict=True)
        ),
        ("POST", "/api/notes"): dict(
            zip(tokens, [401, 403, 201, 403, 401, 401, 403, 403, 401, 403], strict=True)
        ),
        ("GET", "/api/notes/internal"): dict(
            zip(tokens, [401, 403, 403, 403, 401, 401, 200, 403, 401, 200], strict=True)
        ),
        ("GET", "/api/notes/me"): dict(
            zip(tokens, [401, 200, 200, 200, 401, 401, 200, 200, 401, 200], strict=True)
        ),
        ("GET", "/api/notes/open"): dict.fromkeys(tokens, 200),
    }
    async with running(notes_app()) as client:
        for (method, path), statuses in expected.items():
            found = {
                name: (
                    await client.request(
                        method,
                        path,
                        headers=token,
                        json={"title": name} if method == "POST" else None,
                    )
                ).status_code
                for name, token in tokens.items()
            }
            assert found == statuses, (method, path)


async def test_the_caller_is_asked_who_it_is_before_its_body_is_read(notes_app: Any) -> None:
    async def body() -> Any:
        raise AssertionError("read")
        yield b""

    async with running(notes_app()) as client:
        answer = await client.post(
            "/api/notes", content=body(), headers={"content-type": "application/json"}
        )

    assert answer.status_code == 401


async def test_a_missing_token_and_a_bad_one_are_told_apart_by_the_challenge(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    token = issuer.token(acme)
    async with running(notes_app()) as client:
        missing = await client.get("/api/notes/me")
        bad = [
            await client.get("/api/notes/me", headers={"authorization": field})
            for field in ("", "Bearer", "Bearer ", "Basic dTpw", token, f"Bearer {token}x")
        ]
        twice = await client.get(
            "/api/notes/me",
            headers=[("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
        )

    assert missing.headers["www-authenticate"] == "Bearer"
    assert missing.json()["code"] == "TOKEN_MISSING"
    for one in (*bad, twice):
        assert one.status_code == 401
        assert one.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert one.json()["code"] == "TOKEN_INVALID"
        assert token not in one.text


async def test_a_tenant_sees_its_own_rows_and_an_absent_row_is_like_a_foreign_one(
    notes_app: Any, issuer: Issuer, acme: str, other: str
) -> None:
    async with running(notes_app()) as client:
        ours, theirs = issuer.bearer(acme, "owner"), issuer.bearer(other, "owner")
        made = (await client.post("/api/notes", headers=ours, json={"title": "ours"})).json()["id"]
        found = await client.get(f"/api/notes/{made}", headers=ours)
        foreign = await client.get(f"/api/notes/{made}", headers=theirs)
        absent_id = "00000000-0000-4000-8000-000000000000"
        absent = await client.get(f"/api/notes/{absent_id}", headers=theirs)

    assert found.status_code == 200
    assert foreign.status_code == absent.status_code == 404
    assert seen(foreign, made) == seen(absent, absent_id)


async def test_a_header_of_the_client_chooses_no_tenant(
    notes_app: Any, issuer: Issuer, acme: str, other: str
) -> None:
    async with running(notes_app()) as client:
        await client.post("/api/notes", headers=issuer.bearer(other, "owner"), json={"title": "x"})
        found = await client.get(
            "/api/notes",
            headers={
                **issuer.bearer(acme, "owner"),
                "x-tenant-id": other,
                "x-organization-id": other,
                "host": f"{other}.example.com",
            },
        )

    assert found.json()["items"] == []


async def test_a_token_of_a_tenant_that_is_gone_finds_nothing(
    notes_app: Any, issuer: Issuer
) -> None:
    async with running(notes_app()) as client:
        answer = await client.get("/api/notes", headers=issuer.bearer("nobody", "owner"))

    assert (answer.status_code, answer.json()["code"]) == (404, "TENANT_NOT_FOUND")


async def test_a_public_route_that_wants_a_tenant_is_a_fault_of_the_program(notes_app: Any) -> None:
    async with running(notes_app()) as client:
        answer = await client.get("/api/notes/lost")

    assert (answer.status_code, answer.json()["code"]) == (500, "TENANT_REQUIRED")
