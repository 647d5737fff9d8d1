from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_chassis.testing import Issuer, Place, running
from mtenant_database import migrate
from mtenant_events import EventsUnavailable
from tenant_service import worker
from tenant_service.handlers import lifecycle

pytestmark = pytest.mark.anyio


def operator(issuer: Issuer) -> dict[str, str]:
    token = issuer.service_token("operator", audience="tenant-service", scopes=("tenants:manage",))
    return {"authorization": f"Bearer {token}"}


async def test_an_organization_is_renamed_by_whoever_read_it(
    service: Any, place: Place, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        admin = issuer.bearer(one.tenant, "admin")
        read = await client.get("/api/tenants/current", headers=admin)
        known = {**admin, "if-match": read.headers["etag"]}
        changed = await client.patch("/api/tenants/current", json={"name": "New"}, headers=known)
        late = await client.patch("/api/tenants/current", json={"name": "Late"}, headers=known)
        same = await client.get(
            "/api/tenants/current", headers={**admin, "if-none-match": changed.headers["etag"]}
        )

    assert changed.json()["name"] == "New"
    assert (late.status_code, late.json()["code"]) == (412, "VERSION_MISMATCH")
    assert same.status_code == 304
    (told,) = service.told("TenantUpdated")
    assert (told.what, told.value) == ("name", "New")
    audited = place.rows(
        f"select actor, before, after from tenant_{one.tenant}.audit_entries"
        " where action = 'tenant.renamed'"
    )
    assert audited[0][0] == "user:u1"
    assert audited[0][2] == {"name": "New"}


async def test_a_subdomain_changes_hands_only_after_a_while(
    service: Any, place: Place, issuer: Issuer, registered: Any, new_application: Any
) -> None:
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        owner, theirs = issuer.bearer(one.tenant, "owner"), issuer.bearer(other.tenant, "owner")
        path, new = "/api/tenants/current/subdomain", f"{one.subdomain}-new"
        moved = await client.put(path, json={"subdomain": new}, headers=owner)
        taken = await client.put(path, json={"subdomain": new}, headers=theirs)
        held = await client.put(path, json={"subdomain": one.subdomain}, headers=theirs)
        reserved = await client.put(path, json={"subdomain": "www"}, headers=owner)
        back = await client.put(path, json={"subdomain": one.subdomain}, headers=owner)
        again = await client.put(path, json={"subdomain": new}, headers=owner)
        place.rows(
            "update shared.subdomains set held_until = now() - interval '1 second'"
            " where held_until is not null"
        )
        free = await client.get(f"/api/tenants/subdomains/{one.subdomain}")
        after = await client.post(
            "/api/tenants/register", json=new_application(subdomain=one.subdomain)
        )

    assert moved.json()["subdomain"] == new
    assert taken.json()["code"] == held.json()["code"] == "SUBDOMAIN_TAKEN"
    assert reserved.json()["code"] == "SUBDOMAIN_RESERVED"
    assert (back.status_code, again.status_code) == (200, 200)
    assert free.json()["available"] is True
    assert after.status_code == 201


async def test_of_many_who_want_one_subdomain_one_gets_it(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        all_of_them = [await registered(client) for _ in range(4)]
        wanted = f"{all_of_them[0].subdomain}-x"
        answers = await asyncio.gather(
            *(
                client.put(
                    "/api/tenants/current/subdomain",
                    json={"subdomain": wanted},
                    headers=issuer.bearer(one.tenant, "owner"),
                )
                for one in all_of_them
            )
        )

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_a_service_finds_a_tenant_by_its_subdomain(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    token = issuer.service_token(
        "auth-service", audience="tenant-service", scopes=("tenants:read",)
    )
    headers = {"authorization": f"Bearer {token}"}
    async with running(service.app) as client:
        one = await registered(client)
        found = await client.get(
            f"/api/tenants/by-subdomain/{one.subdomain.upper()}", headers=headers
        )
        absent = await client.get("/api/tenants/by-subdomain/nobody-here", headers=headers)
        odd = await client.get("/api/tenants/by-subdomain/xn--n%00t%20one", headers=headers)
        await client.post(f"/api/tenants/{one.tenant}/suspend", headers=operator(issuer))
        suspended = await client.get(f"/api/tenants/by-subdomain/{one.subdomain}", headers=headers)

    assert found.json() == suspended.json() == {"id": one.tenant}
    assert absent.status_code == odd.status_code == 404


async def test_a_suspended_tenant_is_locked_out_until_it_is_reactivated(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        owner, path = issuer.bearer(one.tenant, "owner"), f"/api/tenants/{one.tenant}"
        first = await client.post(f"{path}/suspend", headers=operator(issuer))
        twice = await client.post(f"{path}/suspend", headers=operator(issuer))
        locked = await client.get("/api/tenants/current", headers=owner)
        shown = await client.get(path, headers=operator(issuer))
        back = await client.post(f"{path}/reactivate", headers=operator(issuer))
        again = await client.post(f"{path}/reactivate", headers=operator(issuer))
        free = await client.get("/api/tenants/current", headers=owner)

    assert first.json()["status"] == twice.json()["status"] == shown.json()["status"] == "suspended"
    assert (locked.status_code, locked.json()["code"]) == (403, "TENANT_SUSPENDED")
    assert back.json()["status"] == again.json()["status"] == "active"
    assert free.status_code == 200
    assert [told.value for told in service.told("TenantUpdated")] == ["suspended", "active"]


async def test_a_tenant_that_was_locked_by_hand_is_known_as_such_and_let_in_again(
    service: Any, issuer: Issuer, place: Place, registered: Any
) -> None:
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        for found in (one, other):
            await migrate.suspend(place.owner, found.tenant, settings=place.migrate)
        known = await client.post(f"/api/tenants/{one.tenant}/suspend", headers=operator(issuer))
        for found in (one, other):
            back = await client.post(
                f"/api/tenants/{found.tenant}/reactivate", headers=operator(issuer)
            )
            assert back.json()["status"] == "active"
            current = await client.get(
                "/api/tenants/current", headers=issuer.bearer(found.tenant, "viewer")
            )
            assert current.status_code == 200

    assert known.json()["status"] == "suspended"


@pytest.mark.parametrize("step", ["suspend", "resume"])
async def test_a_status_that_is_on_its_way_is_brought_about_by_the_worker(
    *,
    step: str,
    service: Any,
    issuer: Issuer,
    place: Place,
    registered: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
) -> None:
    monkeypatch.setattr(worker, "POLL", 0.02)
    wanted = {"suspend": "suspended", "resume": "active"}[step]
    real, left = getattr(lifecycle, step), [1]

    async def fails(*args: Any, **named: Any) -> None:
        if left:
            left.pop()
            raise RuntimeError("the process died")
        await real(*args, **named)

    async with running(service.app) as client:
        one = await registered(client)
        path = f"/api/tenants/{one.tenant}"
        if step == "resume":
            await client.post(f"{path}/suspend", headers=operator(issuer))
        monkeypatch.setattr(lifecycle, step, fails)
        verb = {"suspend": "suspend", "resume": "reactivate"}[step]
        answer = await client.post(f"{path}/{verb}", headers=operator(issuer))
        assert answer.status_code == 500 or not left
        await eventually(
            lambda: (
                place.rows(
                    "select o.status, t.status from shared.organizations o"
                    f" join shared.tenants t using (id) where id = '{one.tenant}'"
                )
                == [(wanted, wanted)]
            )
        )


async def test_a_tenant_is_deleted_by_its_owner_after_an_export_with_all_of_its_data(
    *,
    service: Any,
    issuer: Issuer,
    place: Place,
    registered: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
    new_application: Any,
) -> None:
    monkeypatch.setattr(worker, "POLL", 0.02)
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        owner = issuer.bearer(one.tenant, "owner")
        await client.post("/api/tenants/invite", json={"email": "i@example.com"}, headers=owner)
        early = await client.delete(f"/api/tenants/current?confirm={one.subdomain}", headers=owner)
        exported = await client.post("/api/tenants/current/export", headers=owner)
        wrong = await client.delete(
            f"/api/tenants/current?confirm={other.subdomain}", headers=owner
        )
        gone = await client.delete(f"/api/tenants/current?confirm={one.subdomain}", headers=owner)
        assert gone.status_code == 202, gone.text
        await eventually(
            lambda: not place.rows(f"select 1 from shared.tenants where id = '{one.tenant}'")
        )
        after = await client.get("/api/tenants/current", headers=owner)
        never = await client.get("/api/tenants/current", headers=issuer.bearer("0" * 32, "owner"))
        same_name = await client.post(
            "/api/tenants/register", json=new_application(subdomain=one.subdomain)
        )
        untouched = await client.get(
            "/api/tenants/current", headers=issuer.bearer(other.tenant, "owner")
        )

    assert (early.status_code, early.json()["code"]) == (422, "EXPORT_MISSING")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "CONFIRMATION_WRONG")
    said = exported.json()
    assert said["organization"]["id"] == one.tenant
    assert [one["email"] for one in said["invitations"]] == ["i@example.com"]
    assert [one["user_id"] for one in said["preferences"]] == [one.owner]
    assert after.status_code == never.status_code == 404
    assert same_name.json()["code"] == "SUBDOMAIN_TAKEN"
    assert untouched.status_code == 200
    for query in (
        f"select 1 from pg_namespace where nspname = 'tenant_{one.tenant}'",
        f"select 1 from shared.organizations where id = '{one.tenant}'",
        f"select 1 from shared.invitations where tenant = '{one.tenant}'",
    ):
        assert place.rows(query) == []


async def test_events_of_a_deleted_tenant_go_when_it_is_gone_and_once_more_later(
    *,
    service: Any,
    issuer: Issuer,
    place: Place,
    registered: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
) -> None:
    monkeypatch.setattr(worker, "POLL", 0.02)
    forgotten = service.events.forgotten
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        owner = issuer.bearer(one.tenant, "owner")
        await client.post("/api/tenants/current/export", headers=owner)
        assert one.tenant not in forgotten
        await client.delete(f"/api/tenants/current?confirm={one.subdomain}", headers=owner)
        await eventually(lambda: one.tenant in forgotten)
        assert not place.rows(f"select 1 from shared.tenants where id = '{one.tenant}'")

        removal = f"from shared.removals where tenant = '{one.tenant}'"
        await eventually(lambda: place.rows(f"select 1 {removal} and due_at > now()"))
        times = forgotten.count(one.tenant)
        place.rows(
            "update shared.removals set due_at = now(), since = now() - interval '2 hours'"
            f" where tenant = '{one.tenant}'"
        )
        await eventually(lambda: forgotten.count(one.tenant) == times + 1)
        await eventually(lambda: not place.rows(f"select 1 {removal}"))
    assert other.tenant not in forgotten


async def test_a_nats_that_is_away_delays_that_events_are_deleted(
    *,
    service: Any,
    issuer: Issuer,
    place: Place,
    registered: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
) -> None:
    monkeypatch.setattr(worker, "POLL", 0.02)
    tried: list[str] = []

    async def away(tenant: str) -> None:
        tried.append(tenant)
        if len(tried) < 3:
            raise EventsUnavailable

    monkeypatch.setattr(service.events, "forget", away)
    async with running(service.app) as client:
        one = await registered(client)
        owner = issuer.bearer(one.tenant, "owner")
        await client.post("/api/tenants/current/export", headers=owner)
        await client.delete(f"/api/tenants/current?confirm={one.subdomain}", headers=owner)
        await eventually(lambda: tried.count(one.tenant) >= 3)
        await eventually(
            lambda: place.rows(
                f"select 1 from shared.removals where tenant = '{one.tenant}' and due_at > now()"
            )
        )


async def test_users_are_listed_as_auth_service_knows_them(
    service: Any, auth: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one, other = await registered(client), await registered(client)
        listed = await client.get("/api/tenants/users", headers=issuer.bearer(one.tenant, "member"))
        found = await client.get(
            f"/api/tenants/users?email={other.email}", headers=issuer.bearer(one.tenant, "member")
        )
        auth.failures = [503] * 9
        away = await client.get("/api/tenants/users", headers=issuer.bearer(one.tenant, "member"))
        service.app.state.chassis.service("auth-service").breaker.succeeded()

        auth.failures, auth.code = [400], "CURSOR_INVALID"
        other_list = await client.get(
            "/api/tenants/users?cursor=x", headers=issuer.bearer(one.tenant, "member")
        )
        auth.next_cursor = "more"
        page = await client.get(
            f"/api/tenants/users?limit=1&email={one.email}&include_total=true&fields=id",
            headers=issuer.bearer(one.tenant, "member"),
        )

    assert (other_list.status_code, other_list.json()["code"]) == (400, "CURSOR_INVALID")
    assert page.json() == {"items": [{"id": one.owner}], "next_cursor": "more", "total": 1}
    email = one.email.replace("@", "%40")
    kept = f"limit=1&email={email}&include_total=true&fields=id"
    link = f'</api/tenants/users?{kept}&cursor=more>; rel="next"'
    assert page.headers["link"] == link
    assert [user["id"] for user in listed.json()["items"]] == [one.owner]
    assert found.json()["items"] == []
    assert away.status_code == 503
