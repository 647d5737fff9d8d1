from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from auth_service.domain.event import UserCreated
from mtenant_chassis.testing import read_list, seen

pytestmark = pytest.mark.anyio

PATH = "/api/auth/users"
PASSWORD = "correct horse battery staple"


def account(email: str = "ada@example.com", **more: Any) -> dict[str, Any]:
    return {"email": email, "name": "Ada", "role": "owner", "password": PASSWORD, **more}


async def test_a_service_makes_an_account_once_however_often_it_asks(world: Any, acme: str) -> None:
    service, user_id = await world.service_bearer(acme), uuid4()
    answers = await asyncio.gather(
        *(world.http.put(f"{PATH}/{user_id}", headers=service, json=account()) for _ in range(8))
    )

    assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
    assert len({one.text for one in answers}) == 1
    assert [type(event) for _, event in world.events.outbox.added].count(UserCreated) <= 8
    assert world.audited(acme) == ["user.created"]
    assert (await world.login(acme, "ada@example.com")).status_code == 200
    rows = world.rows(acme, "select actor from audit_entries where action = 'user.created'")
    assert rows == [("service:tenant-service",)]


async def test_an_id_and_an_address_belong_to_one_account(world: Any, acme: str) -> None:
    service, user_id = await world.service_bearer(acme), uuid4()
    await world.http.put(f"{PATH}/{user_id}", headers=service, json=account())
    other_address = await world.http.put(
        f"{PATH}/{user_id}", headers=service, json=account("bob@example.com")
    )
    other_id = await world.http.put(f"{PATH}/{uuid4()}", headers=service, json=account())

    assert (other_address.status_code, other_address.json()["code"]) == (409, "USER_ID_TAKEN")
    assert (other_id.status_code, other_id.json()["code"]) == (409, "EMAIL_TAKEN")


async def test_an_account_without_a_password_gets_one_by_a_mail(world: Any, acme: str) -> None:
    service = await world.service_bearer(acme)
    body = {"email": "ada@example.com", "name": "Ada", "role": "owner"}
    made = await world.http.put(f"{PATH}/{uuid4()}", headers=service, json=body)
    assert made.status_code == 201
    assert (await world.login(acme, "ada@example.com")).status_code == 401

    token = await world.mail_to("ada@example.com", "Choose your password")
    chosen = await world.http.post("/api/auth/reset", json={"token": token, "password": PASSWORD})
    assert chosen.status_code == 204
    assert (await world.login(acme, "ada@example.com")).status_code == 200
    assert world.rows(acme, "select email_verified_at is not null from users") == [(True,)]


async def test_an_address_that_nobody_has_seen_is_asked_to_confirm(world: Any, acme: str) -> None:
    service = await world.service_bearer(acme)
    await world.http.put(f"{PATH}/{uuid4()}", headers=service, json=account())
    token = await world.mail_to("ada@example.com", "Confirm your address")

    assert (await world.login(acme, "ada@example.com")).status_code == 200
    await world.http.post("/api/auth/verify-email", json={"token": token})
    found = await world.http.get(PATH, headers=service)
    assert found.json()["items"][0]["email_verified"] is True


async def test_people_make_no_accounts_and_services_without_the_scope_do_not_either(
    world: Any, acme: str
) -> None:
    owner = await world.person(acme, "owner")
    weak = await world.service_bearer(acme, "contact-service", "a-new-secret-of-it")
    nowhere = await world.service_bearer(None)
    codes = [
        (await world.http.put(f"{PATH}/{uuid4()}", headers=who, json=account())).json()["code"]
        for who in (owner.bearer, weak, nowhere)
    ]

    assert codes == ["SERVICES_ONLY", "PERMISSION_MISSING", "TOKEN_WITHOUT_TENANT"]


async def test_users_are_listed_page_by_page_and_by_filter(world: Any, acme: str) -> None:
    ada = await world.person(acme, "admin", "ada@example.com")
    for n in range(6):
        await world.register(acme, f"u{n}@example.com", "viewer")
    seen = [one["email"] for one in await read_list(world.http, PATH, ada.bearer, limit=3)]
    assert seen == ["ada@example.com", *(f"u{n}@example.com" for n in range(6))]

    async def emails(**query: Any) -> list[str]:
        return [one["email"] for one in await read_list(world.http, PATH, ada.bearer, **query)]

    assert await emails(email="U3@example.com") == ["u3@example.com"]
    assert await emails(role="admin") == ["ada@example.com"]
    assert await emails(status="disabled") == []


async def test_an_administrator_gives_a_role_and_takes_it_back(world: Any, acme: str) -> None:
    admin, ada = await world.person(acme, "admin"), await world.person(acme, "viewer")
    for role in ("manager", "manager", "member"):
        answer = await world.http.put(
            f"{PATH}/{ada.id}/role", headers=admin.bearer, json={"role": role}
        )
        assert (answer.status_code, answer.json()["role"]) == (200, role)

    rows = world.rows(
        acme, "select before, after from audit_entries where action = 'user.role_set' order by at"
    )
    assert rows == [
        ({"role": "viewer"}, {"role": "manager"}),
        ({"role": "manager"}, {"role": "member"}),
    ]


async def test_nobody_gives_more_than_they_have_or_touches_who_is_above(
    world: Any, acme: str
) -> None:
    owner = await world.person(acme, "owner")
    admin, ada = await world.person(acme, "admin"), await world.person(acme, "viewer")
    role = {"role": "owner"}
    refused = [
        await world.http.put(f"{PATH}/{ada.id}/role", headers=admin.bearer, json=role),
        await world.http.put(
            f"{PATH}/{owner.id}/role", headers=admin.bearer, json={"role": "viewer"}
        ),
        await world.http.post(f"{PATH}/{owner.id}/disable", headers=admin.bearer),
    ]
    own = [
        await world.http.put(f"{PATH}/{admin.id}/role", headers=admin.bearer, json=role),
        await world.http.post(f"{PATH}/{admin.id}/disable", headers=admin.bearer),
    ]

    assert {one.json()["code"] for one in refused} == {"ROLE_TOO_LOW"}
    assert {one.status_code for one in refused} == {403}
    assert {one.json()["code"] for one in own} == {"OWN_ACCOUNT"}


async def test_an_administrator_of_a_moment_ago_is_none(world: Any, acme: str) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme, "viewer")
    for change in ("role", "disable"):
        admin = await world.person(acme, "admin")
        if change == "role":
            await world.http.put(
                f"{PATH}/{admin.id}/role", headers=owner.bearer, json={"role": "viewer"}
            )
        else:
            await world.http.post(f"{PATH}/{admin.id}/disable", headers=owner.bearer)
        answer = await world.http.put(
            f"{PATH}/{ada.id}/role", headers=admin.bearer, json={"role": "admin"}
        )
        assert answer.status_code in {401, 403}
    assert world.rows(acme, f"select role from users where id = '{ada.id}'") == [("viewer",)]


async def test_a_tenant_keeps_an_owner_whatever_owners_do_to_each_other(
    world: Any, acme: str
) -> None:
    owners = [await world.person(acme, "owner") for _ in range(3)]
    calls = []
    for number, actor in enumerate(owners):
        victim = owners[(number + 1) % 3]
        calls += [
            world.http.put(
                f"{PATH}/{victim.id}/role", headers=actor.bearer, json={"role": "viewer"}
            ),
            world.http.post(f"{PATH}/{victim.id}/disable", headers=actor.bearer),
        ]
    answers = await asyncio.gather(*calls)

    assert {one.status_code for one in answers} <= {200, 401, 403, 422}
    query = "select count(*) from users where role = 'owner' and status = 'active'"
    assert world.rows(acme, query)[0][0] >= 1


async def test_the_last_owner_stays_one_even_for_a_service(world: Any, acme: str) -> None:
    owner, service = await world.person(acme, "owner"), await world.service_bearer(acme)
    answers = [
        await world.http.put(f"{PATH}/{owner.id}/role", headers=service, json={"role": "admin"}),
        await world.http.post(f"{PATH}/{owner.id}/disable", headers=service),
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "LAST_OWNER")}


async def test_who_is_disabled_is_out_at_once_and_comes_back_when_enabled(
    world: Any, acme: str
) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme)
    done = await world.http.post(f"{PATH}/{ada.id}/disable", headers=owner.bearer)

    assert (done.status_code, done.json()["status"]) == (200, "disabled")
    assert (await world.refresh(ada.refresh)).status_code == 401
    for path in ("profile", "validate-token"):
        gone = await world.http.get(f"/api/auth/{path}", headers=ada.bearer)
        assert gone.status_code == 401
    assert (await world.login(acme, ada.email)).status_code == 401
    await world.http.post(f"{PATH}/{ada.id}/enable", headers=owner.bearer)
    assert (await world.login(acme, ada.email)).status_code == 200
    assert (await world.refresh(ada.refresh)).status_code == 401


async def test_a_change_of_what_was_read_long_ago_is_refused(world: Any, acme: str) -> None:
    owner, ada = await world.person(acme, "owner"), await world.person(acme)
    etag = (await world.http.get(f"{PATH}/{ada.id}", headers=owner.bearer)).headers["etag"]
    stale = {**owner.bearer, "if-match": etag}
    body = {"role": "manager"}
    first = await world.http.put(f"{PATH}/{ada.id}/role", headers=stale, json=body)
    second = await world.http.post(f"{PATH}/{ada.id}/disable", headers=stale)

    assert (first.status_code, second.status_code) == (200, 412)


async def test_a_user_of_another_tenant_is_like_one_that_is_not_there(
    world: Any, acme: str, other: str
) -> None:
    ada, eve = await world.person(acme), await world.person(other, "owner")
    absent = str(uuid4())
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "/role", {"role": "viewer"}),
        ("POST", "/disable", None),
        ("POST", "/enable", None),
    ):
        found = []
        for name in (ada.id, absent):
            answer = await world.http.request(
                method, f"{PATH}/{name}{path}", headers=eve.bearer, json=body
            )
            found.append(seen(answer, name))
        assert found[0] == found[1]
        assert found[0].status == 404
