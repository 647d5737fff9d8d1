from __future__ import annotations

import asyncio
import statistics
from time import perf_counter
from typing import Any

import pytest
from argon2 import PasswordHasher

from auth_service.domain.event import UserLogin

pytestmark = pytest.mark.anyio

WRONG = "something else entirely"


async def test_whoever_knows_the_password_gets_tokens(world: Any, acme: str) -> None:
    user = await world.register(acme, "Ada@Example.com", "manager")
    answer = await world.login(acme, "ADA@example.com")

    said = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (said["token_type"], said["expires_in"]) == ("Bearer", 600)
    bearer = {"authorization": f"Bearer {said['access_token']}"}
    claims = (await world.http.get("/api/auth/validate-token", headers=bearer)).json()
    assert (claims["sub"], claims["tenant_id"], claims["roles"]) == (user["id"], acme, ["manager"])
    assert claims["exp"] - claims["iat"] == 600
    assert [type(one) for tenant, one in world.events.outbox.added if tenant == acme][-1] is (
        UserLogin
    )
    assert world.audited(acme)[-1] == "session.opened"


async def test_nothing_of_a_refused_login_tells_what_was_wrong(
    world: Any, acme: str, other: str
) -> None:
    ada = await world.person(acme)
    owner = await world.person(acme, "owner")
    bob = await world.person(acme)
    await world.http.post(f"/api/auth/users/{bob.id}/disable", headers=owner.bearer)
    answers = {
        "wrong password": await world.login(acme, ada.email, WRONG),
        "unknown user": await world.login(acme, "nobody@example.com", WRONG),
        "other tenant": await world.login(other, ada.email),
        "unknown tenant": await world.login("nobody", ada.email),
        "disabled, right password": await world.login(acme, bob.email),
        "disabled, wrong password": await world.login(acme, bob.email, WRONG),
    }

    seen = {
        name: (
            one.status_code,
            one.text.replace(one.headers["x-request-id"], "ID"),
            sorted((key, value) for key, value in one.headers.items() if key != "x-request-id"),
        )
        for name, one in answers.items()
    }
    assert seen["wrong password"][0] == 401
    for name, one in seen.items():
        assert one == seen["wrong password"], name


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    make_world: Any, acme: str
) -> None:
    async with make_world(password_memory=8 * 1024 * 1024, password_passes=2) as world:
        ada = await world.person(acme)
        times: dict[str, list[float]] = {ada.email: [], "nobody@example.com": []}
        for _ in range(15):
            for email, taken in times.items():
                begun = perf_counter()
                await world.login(acme, email, WRONG)
                taken.append(perf_counter() - begun)

    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 0.6 < known / unknown < 1.67  # without a hash it is less than a fifth


async def test_a_password_that_is_composed_otherwise_is_the_same(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    await world.http.post(
        "/api/auth/change-password",
        headers=ada.bearer,
        json={
            "current_password": "correct horse battery staple",
            "new_password": "caf\u00e9 au lait \u2460 s'il",
        },
    )

    assert (await world.login(acme, ada.email, "cafe\u0301 au lait 1 s'il")).status_code == 200


async def test_a_hash_of_other_parameters_is_made_anew_at_login(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    old = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1).hash(WRONG)
    world.rows(acme, f"update users set password_hash = '{old}'")

    answers = await asyncio.gather(*(world.login(acme, ada.email, WRONG) for _ in range(5)))

    assert [one.status_code for one in answers] == [200] * 5
    ((found,),) = world.rows(acme, "select password_hash from users")
    assert found.startswith("$argon2id$v=19$m=64,t=1,p=1$")


async def test_a_hash_that_is_none_is_a_wrong_password(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    for text in ("'plain'", "''", "null"):
        world.rows(acme, f"update users set password_hash = {text}")
        assert (await world.login(acme, ada.email, "plain")).status_code == 401


async def test_an_account_is_throttled_and_no_other(make_world: Any, acme: str) -> None:
    async with make_world(account_attempts=3) as world:
        await world.register(acme, "ada@example.com")
        await world.register(acme, "bob@example.com")
        tried = [await world.login(acme, "ada@example.com", WRONG) for _ in range(3)]
        over = await world.login(acme, "ADA@example.com")
        nobody = [await world.login(acme, "nobody@example.com", WRONG) for _ in range(4)]
        bob = await world.login(acme, "bob@example.com")

    assert [one.status_code for one in tried] == [401] * 3
    assert (over.status_code, over.json()["code"]) == (429, "RATE_EXCEEDED")
    assert 1 <= int(over.headers["retry-after"]) <= 100
    assert [one.status_code for one in nobody] == [401, 401, 401, 429]  # like a known one
    assert bob.status_code == 200


async def test_an_address_is_throttled_over_all_accounts(make_world: Any, acme: str) -> None:
    async with make_world(address_attempts=6) as world:
        found = [(await world.login(acme, f"u{n}@example.com", WRONG)) for n in range(8)]

    assert [one.status_code for one in found] == [401] * 6 + [429] * 2


async def test_the_subdomain_names_the_tenant(make_world: Any, acme: str) -> None:
    async with make_world(base_domain="crm.example.com") as world:
        world.tenants.subdomains["acme"] = acme
        await world.register(acme, "ada@example.com")
        body = {"email": "ada@example.com", "password": "correct horse battery staple"}

        async def login(host: str, **more: str) -> Any:
            return await world.http.post(
                "/api/auth/login", json={**body, **more}, headers={"host": host}
            )

        assert (await login("acme.crm.example.com")).status_code == 200
        assert (await login("ACME.crm.example.com:8080")).status_code == 200
        assert (await login("crm.example.com", tenant=acme)).status_code == 200
        missing = await login("crm.example.com")
        unknown = await login("nobody.crm.example.com")
        hostile = [
            await login(host)
            for host in ("a.b.crm.example.com", "crm.example.com.evil.example", "../x")
        ]
        asked = [one.url.path for one in world.tenants.asked]
        world.tenants.down = True
        assert (await login("acme.crm.example.com")).status_code == 200  # it is remembered
        down = await login("globex.crm.example.com")

    assert (missing.status_code, missing.json()["code"]) == (422, "TENANT_MISSING")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "TENANT_NOT_FOUND")
    assert {one.json()["code"] for one in hostile} == {"TENANT_MISSING"}
    assert asked.count("/api/tenants/by-subdomain/acme") == 1
    assert (down.status_code, down.json()["code"]) == (503, "CALLEE_UNAVAILABLE")


async def test_a_suspended_tenant_lets_nobody_in(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    world.place.rows(f"revoke usage on schema tenant_{acme} from {world.place.migrate.app}")
    world.place.rows(f"update shared.tenants set status = 'suspended' where id = '{acme}'")

    for answer in (await world.login(acme, ada.email), await world.refresh(ada.refresh)):
        assert (answer.status_code, answer.json()["code"]) == (403, "TENANT_SUSPENDED")


async def test_logout_ends_the_session_and_its_refresh_token_and_no_other(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    phone = await world.again(ada)

    for _ in range(2):
        answer = await world.http.post("/api/auth/logout", headers=ada.bearer)
        assert answer.status_code == 204

    assert (await world.refresh(ada.refresh)).status_code == 401
    for path in ("profile", "validate-token"):
        gone = await world.http.get(f"/api/auth/{path}", headers=ada.bearer)
        assert (gone.status_code, gone.json()["code"]) == (401, "TOKEN_INVALID")
    assert (await world.refresh(phone.refresh)).status_code == 200
    assert world.audited(acme).count("session.closed") == 1


async def test_more_logins_than_can_wait_are_told_to_come_again(make_world: Any, acme: str) -> None:
    async with make_world(password_workers=1, account_attempts=1000) as world:
        ada = await world.person(acme)
        answers = await asyncio.gather(
            *(world.login(acme, f"u{n}@example.com", WRONG) for n in range(120))
        )
        after = await world.login(acme, ada.email)

    statuses = [one.status_code for one in answers]
    assert set(statuses) <= {401, 503}
    assert after.status_code == 200
    busy = [one for one in answers if one.status_code == 503]
    assert all(one.headers["retry-after"] == "1" for one in busy)


@pytest.mark.parametrize("base", [None, "crm.example.com"])
async def test_a_host_that_is_none_names_no_tenant(make_world: Any, base: str | None) -> None:
    body = {"email": "ada@example.com", "password": "x"}
    hosts = ["[", "]", "a:b:c", "\x00", "acme.crm.example.com:x", "%", "..crm.example.com", " "]
    async with make_world(base_domain=base) as world:
        for host in hosts:
            answer = await world.http.post("/api/auth/login", json=body, headers={"host": host})
            assert answer.status_code in {400, 404, 422}, (host, answer.text)
