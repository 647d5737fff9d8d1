from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auth_service.domain.event import UserPasswordReset

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"
NEW = "another horse, another battery"


async def forgot(world: Any, tenant: str, email: str) -> Any:
    return await world.http.post("/api/auth/forgot", json={"tenant": tenant, "email": email})


async def reset(world: Any, token: str, password: str = NEW) -> Any:
    return await world.http.post("/api/auth/reset", json={"token": token, "password": password})


async def reset_token(world: Any, person: Any) -> str:
    assert (await forgot(world, person.tenant, person.email)).status_code == 202
    token: str = await world.mail_to(person.email, "Choose a new password")
    return token


async def test_a_mail_lets_somebody_choose_a_new_password_and_ends_every_session(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)

    assert (await reset(world, token)).status_code == 204
    assert (await world.login(acme, ada.email)).status_code == 401
    assert (await world.login(acme, ada.email, NEW)).status_code == 200
    assert (await world.refresh(ada.refresh)).status_code == 401
    assert (await world.http.get("/api/auth/profile", headers=ada.bearer)).status_code == 401
    events = [one for _, one in world.events.outbox.added if isinstance(one, UserPasswordReset)]
    assert events == [UserPasswordReset(ada.id)]
    audited = world.audited(acme)
    assert {"password.reset_requested", "password.reset"} <= set(audited)


async def test_a_reset_token_works_once_however_many_come_at_once(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)
    passwords = [f"{n} horses and a battery" for n in range(20)]

    answers = await asyncio.gather(*(reset(world, token, one) for one in passwords))

    assert sorted(one.status_code for one in answers) == [204] + [422] * 19
    assert {one.json()["code"] for one in answers if one.status_code == 422} == {
        "RESET_TOKEN_INVALID"
    }
    chosen = passwords[[one.status_code for one in answers].index(204)]
    assert (await world.login(acme, ada.email, chosen)).status_code == 200
    assert world.audited(acme).count("password.reset") == 1


async def test_the_newest_mail_is_the_one_that_works(
    world: Any, acme: str, eventually: Any
) -> None:
    ada = await world.person(acme)
    first = await reset_token(world, ada)
    await forgot(world, acme, ada.email)
    await eventually(lambda: len(world.mails.sent) == 2)
    second = await world.mail_to(ada.email, "Choose a new password")

    assert (await reset(world, first)).status_code == 422
    assert (await reset(world, second)).status_code == 204


async def test_a_reset_token_ends_after_an_hour(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)
    ((left,),) = world.rows(
        acme, "select extract(epoch from expires_at - now())::int from password_reset_tokens"
    )
    world.rows(acme, "update password_reset_tokens set expires_at = now()")

    assert 3500 < left <= 3600
    assert (await reset(world, token)).status_code == 422


async def test_forgot_answers_alike_for_everybody_and_writes_to_those_who_are_there(
    world: Any, acme: str, other: str
) -> None:
    ada = await world.person(acme)
    owner, bob = await world.person(acme, "owner"), await world.person(acme)
    await world.http.post(f"/api/auth/users/{bob.id}/disable", headers=owner.bearer)
    answers = [
        await forgot(world, acme, "nobody@example.com"),
        await forgot(world, other, ada.email),
        await forgot(world, "nobody", ada.email),
        await forgot(world, acme, bob.email),
        await forgot(world, acme, ada.email),
    ]

    assert {(one.status_code, one.content) for one in answers} == {(202, answers[0].content)}
    assert len({frozenset(one.headers) for one in answers}) == 1
    await world.mail_to(ada.email, "Choose a new password")
    assert [mail["To"] for mail in world.mails.sent] == [ada.email]


async def test_a_mailbox_is_not_flooded(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    known = [(await forgot(world, acme, ada.email)).status_code for _ in range(7)]
    unknown = [(await forgot(world, acme, "nobody@example.com")).status_code for _ in range(7)]

    assert known == unknown == [202] * 5 + [429] * 2


@pytest.mark.parametrize("token", ["x", "nobody." + "a" * 43, "\0", "a.b.c", "a" * 200])
async def test_a_made_up_token_is_refused(standing: Any, token: str) -> None:
    answer = await reset(standing, token)

    assert (answer.status_code, answer.json()["code"]) == (422, "RESET_TOKEN_INVALID")


async def test_a_token_of_one_tenant_opens_nothing_in_another(
    world: Any, acme: str, other: str
) -> None:
    ada = await world.person(acme)
    await world.person(other, email=ada.email)
    token = await reset_token(world, ada)

    moved = f"{other}.{token.partition('.')[2]}"
    assert (await reset(world, moved)).status_code == 422
    assert (await reset(world, token)).status_code == 204


async def test_a_weak_password_does_not_use_the_token_up(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)

    weak = await reset(world, token, ada.email)
    assert (weak.status_code, weak.json()["code"]) == (422, "PASSWORD_WEAK")
    assert (await reset(world, token)).status_code == 204


async def test_a_login_that_began_before_a_reset_ends_with_it(world: Any, acme: str) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)
    logins = [asyncio.create_task(world.login(acme, ada.email)) for _ in range(8)]
    done = await reset(world, token)
    answers = [await one for one in logins]

    assert done.status_code == 204
    for answer in answers:
        if answer.status_code == 200:
            assert (await world.refresh(answer.json()["refresh_token"])).status_code == 401


async def test_whoever_knows_the_password_changes_it_and_other_sessions_end(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    phone = await world.again(ada)
    body = {"current_password": PASSWORD, "new_password": NEW}

    wrong = await world.http.post(
        "/api/auth/change-password",
        headers=ada.bearer,
        json={**body, "current_password": "not this one"},
    )
    done = await world.http.post("/api/auth/change-password", headers=ada.bearer, json=body)

    assert (wrong.status_code, wrong.json()["code"]) == (422, "PASSWORD_WRONG")
    assert done.status_code == 204
    assert (await world.refresh(phone.refresh)).status_code == 401
    assert (await world.refresh(ada.refresh)).status_code == 200
    assert (await world.login(acme, ada.email, NEW)).status_code == 200
    assert "password.changed" in world.audited(acme)


async def test_a_mail_that_was_on_its_way_is_void_once_the_password_is_changed(
    world: Any, acme: str
) -> None:
    ada = await world.person(acme)
    token = await reset_token(world, ada)
    body = {"current_password": PASSWORD, "new_password": NEW}
    await world.http.post("/api/auth/change-password", headers=ada.bearer, json=body)

    assert (await reset(world, token)).status_code == 422


async def test_a_stolen_token_guesses_no_password(make_world: Any, acme: str) -> None:
    async with make_world(account_attempts=4) as world:
        ada = await world.person(acme)
        found = []
        for n in range(6):
            answer = await world.http.post(
                "/api/auth/change-password",
                headers=ada.bearer,
                json={"current_password": f"guess {n}", "new_password": NEW},
            )
            found.append(answer.status_code)

    assert found[0] == 422
    assert found[-1] == 429


async def test_changing_and_resetting_at_once_meets_no_deadlock(world: Any, acme: str) -> None:
    for number in range(5):
        ada = await world.person(acme)
        await forgot(world, acme, ada.email)
        token = await world.mail_to(ada.email, "Choose a new password")
        body = {"current_password": PASSWORD, "new_password": NEW}
        changed, done = await asyncio.gather(
            world.http.post("/api/auth/change-password", headers=ada.bearer, json=body),
            reset(world, token, f"the password of round {number}"),
        )
        assert changed.status_code in {204, 422}
        assert done.status_code in {204, 422}
        assert 204 in {changed.status_code, done.status_code}
