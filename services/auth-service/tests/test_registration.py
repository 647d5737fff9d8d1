from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auth_service.domain.event import UserCreated

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"


def application(tenant: str, email: str = "ada@example.com", **more: Any) -> dict[str, Any]:
    return {"tenant": tenant, "email": email, "name": "Ada", "password": PASSWORD, **more}


async def register(world: Any, body: dict[str, Any]) -> Any:
    return await world.http.post("/api/auth/register", json=body)


async def test_an_invitation_makes_an_account_of_the_role_that_it_says(
    world: Any, acme: str
) -> None:
    token = world.tenants.invite(acme, "Ada@example.com", "admin")
    answer = await register(world, application(acme, "ada@EXAMPLE.com", invitation_token=token))

    user = answer.json()
    assert answer.status_code == 201
    assert (user["email"], user["role"], user["status"], user["email_verified"]) == (
        "ada@example.com",
        "admin",
        "active",
        True,
    )
    ((tenant, event),) = world.events.outbox.added
    assert tenant == acme
    assert isinstance(event, UserCreated)
    assert (event.user_id, event.role) == (user["id"], "admin")
    assert event.invitation_id is not None
    assert token not in repr(event)
    assert PASSWORD not in repr(event)
    assert world.audited(acme) == ["user.created"]
    assert (await world.login(acme, "ada@example.com")).status_code == 200


@pytest.mark.parametrize("name", ["role", "roles", "status", "id", "email_verified", "is_admin"])
async def test_nothing_in_the_body_makes_more_of_it(standing: Any, acme: str, name: str) -> None:
    token = standing.tenants.invite(acme, "ada@example.com", "viewer")
    body = application(acme, invitation_token=token, **{name: "owner"})
    answer = await register(standing, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert standing.rows(acme, "select 1 from users") == []


async def test_without_an_invitation_the_door_is_closed(world: Any, acme: str, other: str) -> None:
    theirs = world.tenants.invite(other, "ada@example.com", "owner")
    closed = await register(world, application(acme))
    unknown = await register(world, application("nobody"))
    foreign = await register(world, application(acme, invitation_token=theirs))
    for_another = world.tenants.invite(acme, "bob@example.com", "owner")
    stolen = await register(world, application(acme, invitation_token=for_another))

    assert (closed.status_code, closed.json()["code"]) == (403, "REGISTRATION_CLOSED")
    assert (unknown.status_code, unknown.json()["code"]) == (403, "REGISTRATION_CLOSED")
    for answer in (foreign, stolen):
        assert (answer.status_code, answer.json()["code"]) == (422, "INVITATION_INVALID")
    assert world.rows(acme, "select 1 from users") == []


async def test_an_invitation_works_once_however_many_come_at_once(world: Any, acme: str) -> None:
    token = world.tenants.invite(acme, "ada@example.com", "member")
    body = application(acme, invitation_token=token)
    answers = await asyncio.gather(*(register(world, body) for _ in range(10)))

    assert sorted(one.status_code for one in answers) == [201] + [409] * 9
    assert {one.json()["code"] for one in answers if one.status_code == 409} == {"EMAIL_TAKEN"}
    assert world.rows(acme, "select count(*) from users") == [(1,)]


async def test_one_address_has_an_account_in_each_tenant(world: Any, acme: str, other: str) -> None:
    ours = await world.register(acme, "ada@example.com", "owner")
    theirs = await world.register(other, "ada@example.com", "viewer")

    assert ours["id"] != theirs["id"]


async def test_open_registration_answers_alike_for_known_and_unknown(world: Any, acme: str) -> None:
    world.tenants.open.add(acme)
    await world.register(acme, "known@example.com")
    known = await register(world, application(acme, "known@example.com"))
    unknown = await register(world, application(acme, "new@example.com"))

    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert known.status_code == 202
    assert known.headers.keys() == unknown.headers.keys()
    await world.mail_to("new@example.com", "Confirm your address")
    # Nor does a login with the password that was just chosen tell.
    tried = [
        await world.login(acme, email, "the one that was just chosen")
        for email in ("known@example.com", "new@example.com")
    ]
    tried.append(await world.login(acme, "new@example.com"))
    assert {(one.status_code, one.json()["code"]) for one in tried} == {
        (401, "INVALID_CREDENTIALS")
    }


async def test_who_registers_openly_is_let_in_once_the_address_is_confirmed_and_as_little(
    world: Any, acme: str
) -> None:
    world.tenants.open.add(acme)
    await register(world, application(acme))
    token = await world.mail_to("ada@example.com", "Confirm your address")

    confirmed = [
        await world.http.post("/api/auth/verify-email", json={"token": token}) for _ in range(2)
    ]

    assert [one.status_code for one in confirmed] == [204, 422]
    login = await world.login(acme, "ada@example.com")
    assert login.status_code == 200
    rows = world.rows(acme, "select role, status, email_verified_at is not null from users")
    assert rows == [("viewer", "active", True)]


async def test_who_registers_again_before_confirming_chooses_anew_and_the_first_mail_is_void(
    world: Any, acme: str, eventually: Any
) -> None:
    world.tenants.open.add(acme)
    await register(world, application(acme, password="what a stranger chose first"))
    first = await world.mail_to("ada@example.com", "Confirm your address")
    await register(world, application(acme))
    await eventually(lambda: len(world.mails.sent) == 2)
    second = await world.mail_to("ada@example.com", "Confirm your address")

    void = await world.http.post("/api/auth/verify-email", json={"token": first})
    good = await world.http.post("/api/auth/verify-email", json={"token": second})

    assert (void.status_code, good.status_code) == (422, 204)
    assert (await world.login(acme, "ada@example.com")).status_code == 200
    stranger = await world.login(acme, "ada@example.com", "what a stranger chose first")
    assert stranger.status_code == 401
    created = [one for _, one in world.events.outbox.added if isinstance(one, UserCreated)]
    assert len(created) == 1


async def test_a_known_person_is_told_by_mail(world: Any, acme: str, eventually: Any) -> None:
    world.tenants.open.add(acme)
    await world.register(acme, "ada@example.com")
    await register(world, application(acme))
    await eventually(lambda: world.mails.sent)

    assert world.mails.sent[0]["Subject"] == "You have an account already"
    assert (await world.login(acme, "ada@example.com")).status_code == 200


@pytest.mark.parametrize(
    "token", ["x", "acme", "nobody." + "a" * 43, "\0", "../../x." + "a" * 43, "é" * 44]
)
async def test_a_made_up_confirmation_is_refused(standing: Any, token: str) -> None:
    answer = await standing.http.post("/api/auth/verify-email", json={"token": token})

    assert (answer.status_code, answer.json()["code"]) == (422, "VERIFICATION_TOKEN_INVALID")


@pytest.mark.parametrize(
    "password",
    [
        "too short",
        "",
        "aaaaaaaaaaaaaaaa",
        "ada@example.com",
        "ADA@example.com1",
        "x" * 257,
        "abab" * 4,
    ],
)
async def test_a_password_that_anybody_would_try_is_refused(
    standing: Any, acme: str, password: str
) -> None:
    token = standing.tenants.invite(acme, "ada@example.com", "member")
    body = application(acme, password=password, invitation_token=token)
    answer = await register(standing, body)

    assert answer.json()["code"] in {"VALIDATION_FAILED", "PASSWORD_WEAK"}
    assert not password or password not in answer.text


@pytest.mark.parametrize(
    "email",
    ["ada", "@", "a@", "@b", "a b@c", "a@b\r\nBcc: c@d", "a@b,c@d", "<a@b>", "a@b@c", "x" * 260],
)
async def test_what_is_no_single_address_is_refused(standing: Any, acme: str, email: str) -> None:
    answer = await register(standing, application(acme, email))

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert email not in answer.text or len(email) < 3


async def test_an_invitation_for_a_role_that_is_none_is_refused(world: Any, acme: str) -> None:
    token = world.tenants.invite(acme, "ada@example.com", "root")
    answer = await register(world, application(acme, invitation_token=token))

    assert answer.json()["code"] == "INVITATION_INVALID"


async def test_while_tenant_service_is_away_nobody_registers_and_everybody_logs_in(
    world: Any, acme: str
) -> None:
    await world.register(acme, "ada@example.com")
    world.tenants.down = True
    answer = await register(world, application(acme, "bob@example.com"))

    assert (answer.status_code, answer.json()["code"]) == (503, "CALLEE_UNAVAILABLE")
    assert (await world.login(acme, "ada@example.com")).status_code == 200
