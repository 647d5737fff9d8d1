from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from auth_service.domain.refresh_token import RefreshToken

pytestmark = pytest.mark.anyio


def family(world: Any, person: Any) -> RefreshToken:
    token: RefreshToken = world.app.state.auth.refresh_tokens.read(person.refresh)
    return token


async def test_a_refresh_token_gets_its_successor_and_an_access_token(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    answer = await world.refresh(ada.refresh)

    said = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert said["refresh_token"] != ada.refresh
    bearer = {"authorization": f"Bearer {said['access_token']}"}
    assert (await world.http.get("/api/auth/profile", headers=bearer)).json()["id"] == ada.id


async def test_fifty_parallel_uses_of_one_token_get_one_successor_and_the_family_lives(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    answers = await asyncio.gather(*(world.refresh(ada.refresh) for _ in range(50)))

    assert [one.status_code for one in answers] == [200] * 50
    successors = {one.json()["refresh_token"] for one in answers}
    assert len(successors) == 1
    assert (await world.refresh(successors.pop())).status_code == 200
    rows = world.rows(acme, "select counter, revoked_at from refresh_tokens")
    assert rows == [(2, None)]


async def test_the_previous_token_gets_the_same_successor_within_the_grace(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    first = (await world.refresh(ada.refresh)).json()["refresh_token"]
    again = await world.refresh(ada.refresh)

    assert (again.status_code, again.json()["refresh_token"]) == (200, first)


async def test_reuse_after_the_grace_revokes_the_family_and_no_other(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    elsewhere = await world.again(ada)
    newest = (await world.refresh(ada.refresh)).json()["refresh_token"]
    world.rows(acme, "update refresh_tokens set rotated_at = now() - interval '11 s'")

    reused = await world.refresh(ada.refresh)

    assert (reused.status_code, reused.json()["code"]) == (401, "REFRESH_TOKEN_INVALID")
    # Seen after the 401: what it raised did not take the revocation back.
    states = dict(world.rows(acme, "select family, revoked_at is not null from refresh_tokens"))
    assert states == {family(world, ada).family: True, family(world, elsewhere).family: False}
    assert (await world.refresh(newest)).status_code == 401
    assert (await world.refresh(elsewhere.refresh)).status_code == 200
    assert (await world.http.get("/api/auth/profile", headers=ada.bearer)).status_code == 401
    assert "session.revoked" in world.audited(acme)


async def test_a_token_two_steps_back_revokes_the_family_at_once(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    second = (await world.refresh(ada.refresh)).json()["refresh_token"]
    third = (await world.refresh(second)).json()["refresh_token"]

    assert (await world.refresh(ada.refresh)).status_code == 401
    assert (await world.refresh(third)).status_code == 401


async def test_a_thief_and_the_owner_do_not_both_go_on(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    stolen = ada.refresh
    mine = (await world.refresh(ada.refresh)).json()["refresh_token"]
    for _ in range(2):
        mine = (await world.refresh(mine)).json()["refresh_token"]

    assert (await world.refresh(stolen)).status_code == 401
    assert (await world.refresh(mine)).status_code == 401


@pytest.mark.parametrize("change", ["counter", "tenant", "family", "code", "form"])
async def test_a_token_that_was_changed_is_refused_and_harms_nobody(
    standing: Any, acme: str, other: str, change: str
) -> None:
    ada = await standing.person(acme)
    parts = ada.refresh.split(".")
    changed = {
        "counter": [*parts[:3], "1", parts[4]],
        "tenant": [parts[0], other, *parts[2:]],
        "family": [*parts[:2], UUID(int=7).hex, *parts[3:]],
        "code": [*parts[:4], "A" * 43],
        "form": [*parts, "more"],
    }[change]

    refused = await standing.refresh(".".join(changed))

    assert (refused.status_code, refused.json()["code"]) == (401, "REFRESH_TOKEN_INVALID")
    assert (await standing.refresh(ada.refresh)).status_code == 200


async def test_an_access_token_is_no_refresh_token(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    answer = await world.http.post("/api/auth/refresh", json={"refresh_token": ada.access[:256]})

    assert answer.status_code == 401


async def test_a_family_that_has_ended_gives_nothing_more(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    world.rows(acme, "update refresh_tokens set expires_at = now() - interval '1 s'")

    assert (await world.refresh(ada.refresh)).status_code == 401
    assert world.rows(acme, "select revoked_at from refresh_tokens") == [(None,)]


async def test_a_token_of_a_tenant_that_is_gone_is_like_any_bad_one(world: Any) -> None:
    tokens = world.app.state.auth.refresh_tokens
    text = tokens.write(RefreshToken("nobody", UUID(int=1), 0))

    assert (await world.refresh(text)).status_code == 401


async def test_the_new_role_is_in_the_next_access_token(world: Any, acme: str) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme, "member")
    await world.http.put(
        f"/api/auth/users/{ada.id}/role", headers=owner.bearer, json={"role": "admin"}
    )
    token = (await world.refresh(ada.refresh)).json()["access_token"]
    said = await world.http.get(
        "/api/auth/validate-token", headers={"authorization": f"Bearer {token}"}
    )

    assert said.json()["roles"] == ["admin"]


async def test_two_processes_give_one_successor(make_world: Any, acme: str) -> None:
    async with make_world() as one, make_world() as two:
        ada = await one.person(acme)
        answers = await asyncio.gather(
            *(world.refresh(ada.refresh) for world in (one, two) for _ in range(15))
        )

    assert [answer.status_code for answer in answers] == [200] * 30
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_refreshing_while_sessions_end_meets_no_deadlock(world: Any, acme: str) -> None:
    for _ in range(5):
        ada = await world.person(acme)
        others = [await world.again(ada) for _ in range(4)]
        answers = await asyncio.gather(
            *(world.refresh(one.refresh) for one in others),
            world.http.delete("/api/auth/sessions", headers=ada.bearer),
            *(world.refresh(one.refresh) for one in others),
            *(world.http.post("/api/auth/logout", headers=one.bearer) for one in others),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 401}
        for one in others:
            assert (await world.refresh(one.refresh)).status_code == 401
