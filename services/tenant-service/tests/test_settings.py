from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.testing import Issuer, Place, running
from mtenant_events import Event
from tenant_service.domain.event import TenantUpdated, UserCreated
from tenant_service.subscriptions import subscriptions

pytestmark = pytest.mark.anyio


async def test_settings_have_defaults_a_version_and_a_schema(
    service: Any, place: Place, issuer: Issuer
) -> None:
    tenant = await place.new_tenant()
    admin = issuer.bearer(tenant, "admin")
    async with running(service.app) as client:
        first = await client.get("/api/tenants/settings", headers=admin)
        changed = await client.put(
            "/api/tenants/settings",
            json={"timezone": "Europe/Zurich", "open_registration": True},
            headers={**admin, "if-match": first.headers["etag"]},
        )
        late = await client.put(
            "/api/tenants/settings", json={}, headers={**admin, "if-match": first.headers["etag"]}
        )
        second = await client.get("/api/tenants/settings", headers=admin)
        schema = await client.get("/api/tenants/settings/schema", headers=admin)

    assert first.json()["version"] == 1
    assert first.json()["settings"]["open_registration"] is False
    assert changed.json()["version"] == 2
    assert second.json() == changed.json()
    assert second.json()["settings"]["timezone"] == "Europe/Zurich"
    assert late.status_code == 412
    assert set(schema.json()["properties"]) == set(first.json()["settings"])
    assert schema.headers["cache-control"] == "private, max-age=3600"
    assert [(told.what, told.version) for told in service.told("TenantUpdated")] == [
        ("settings", 2)
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"timezone": "Europe/Nowhere"},
        {"timezone": "../../etc/passwd"},
        {"currency": "eur"},
        {"locale": "english"},
        {"unknown": 1},
        {"open_registration": "perhaps"},
        {"open_registration": "true"},
        {"open_registration": 0},
        {"locale": None},
    ],
)
async def test_settings_that_make_no_sense_are_refused(
    service: Any, place: Place, issuer: Issuer, body: dict[str, Any]
) -> None:
    tenant = await place.new_tenant()
    async with running(service.app) as client:
        answer = await client.put(
            "/api/tenants/settings", json=body, headers=issuer.bearer(tenant, "admin")
        )
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_another_process_change_is_seen_once_its_event_came(
    make_service: Any, place: Place, issuer: Issuer
) -> None:
    tenant = await place.new_tenant()
    admin = issuer.bearer(tenant, "admin")
    here, there = make_service(), make_service()
    async with running(here.app) as one, running(there.app) as two:
        await one.get("/api/tenants/settings", headers=admin)
        await two.put("/api/tenants/settings", json={"currency": "CHF"}, headers=admin)
        stale = await one.get("/api/tenants/settings", headers=admin)

        ((_, told),) = there.events.outbox.added
        event = Event(type="tenant.updated", source="/tenant-service", tenant=tenant, data=told)
        chassis = here.app.state.chassis
        for one_of_them in subscriptions(chassis, here.own):
            if "tenant.updated" in one_of_them.types:
                await one_of_them.handler(event)
        fresh = await one.get("/api/tenants/settings", headers=admin)

    assert isinstance(told, TenantUpdated)
    assert stale.json()["version"] == 1
    assert (fresh.json()["version"], fresh.json()["settings"]["currency"]) == (2, "CHF")


async def test_with_a_shared_cache_another_process_change_is_seen_at_once(
    make_service: Any, place: Place, issuer: Issuer, redis_url: str
) -> None:
    from mtenant_config import Secret  # noqa: PLC0415 - this test's own

    tenant = await place.new_tenant()
    admin = issuer.bearer(tenant, "admin")
    here, there = (make_service(redis_url=Secret(redis_url)) for _ in range(2))
    async with running(here.app) as one, running(there.app) as two:
        await one.get("/api/tenants/settings", headers=admin)
        await two.put("/api/tenants/settings", json={"currency": "CHF"}, headers=admin)
        fresh = await one.get("/api/tenants/settings", headers=admin)
    assert fresh.json()["version"] == 2


async def test_auth_service_learns_whether_registration_is_open(
    service: Any, place: Place, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        token = issuer.service_token(
            "auth-service", audience="tenant-service", tenant=one.tenant, scopes=("tenants:read",)
        )
        asking = {"authorization": f"Bearer {token}"}
        closed = await client.get("/api/tenants/registration", headers=asking)
        admin = issuer.bearer(one.tenant, "admin")
        await client.put("/api/tenants/settings", json={"open_registration": True}, headers=admin)
        opened = await client.get("/api/tenants/registration", headers=asking)
        place.rows(
            f"insert into tenant_{one.tenant}.user_preferences (user_id)"
            " select n::text from generate_series(1, 4) n"
        )
        full = await client.get("/api/tenants/registration", headers=asking)

    assert closed.json() == {"open_registration": False}
    assert opened.json() == {"open_registration": True}
    assert full.json() == {"open_registration": False}


async def test_preferences_are_each_users_own(service: Any, place: Place, issuer: Issuer) -> None:
    tenant = await place.new_tenant()
    ada = issuer.bearer(tenant, "viewer", user="ada")
    grace = issuer.bearer(tenant, "viewer", user="grace")
    robot = issuer.service_token("deal-service", audience="tenant-service", tenant=tenant)
    async with running(service.app) as client:
        first = await client.get("/api/tenants/preferences", headers=ada)
        made = await client.put(
            "/api/tenants/preferences", json={"theme": "dark"}, headers={**ada, "if-match": '"v0"'}
        )
        late = await client.put(
            "/api/tenants/preferences", json={}, headers={**ada, "if-match": '"v0"'}
        )
        hers = await client.get("/api/tenants/preferences", headers=grace)
        nobody = await client.get(
            "/api/tenants/preferences", headers={"authorization": f"Bearer {robot}"}
        )

    assert first.json()["version"] == 0
    assert made.json() == {
        "preferences": {**first.json()["preferences"], "theme": "dark"},
        "version": 1,
    }
    assert late.status_code == 412
    assert hers.json() == first.json()
    assert (nobody.status_code, nobody.json()["code"]) == (403, "PEOPLE_ONLY")


async def test_a_new_user_gets_default_preferences_once(
    service: Any, place: Place, issuer: Issuer
) -> None:
    tenant, user = await place.new_tenant(), str(uuid4())
    event = Event(
        type="user.created", source="/auth-service", tenant=tenant, data=UserCreated(user_id=user)
    )
    async with running(service.app) as client:
        chassis = service.app.state.chassis
        (handler,) = [
            one.handler
            for one in subscriptions(chassis, service.own)
            if "user.created" in one.types
        ]
        for _ in range(2):
            async with chassis.tenant(tenant).transaction() as tx:
                await handler(event, tx)
        mine = await client.get(
            "/api/tenants/preferences", headers=issuer.bearer(tenant, "viewer", user=user)
        )

    assert mine.json()["version"] == 1
    assert place.rows(f"select count(*) from tenant_{tenant}.user_preferences") == [(1,)]


async def test_a_user_who_registered_by_an_invitation_has_accepted_it(
    service: Any, issuer: Issuer, registered: Any
) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        admin = issuer.bearer(one.tenant, "admin")
        made = await client.post(
            "/api/tenants/invite", json={"email": "grace@example.com"}, headers=admin
        )
        chassis, user = service.app.state.chassis, str(uuid4())
        data = UserCreated(user_id=user, invitation_id=made.json()["id"])
        event = Event(type="user.created", source="/auth", tenant=one.tenant, data=data)
        (handler,) = [
            found.handler
            for found in subscriptions(chassis, service.own)
            if "user.created" in found.types
        ]
        for _ in range(2):
            async with chassis.tenant(one.tenant).transaction() as tx:
                await handler(event, tx)
        shown = await client.get(made.headers["location"], headers=admin)

    assert (shown.json()["status"], shown.json()["accepted_by"]) == ("accepted", user)
    (joined,) = service.told("TenantUserJoined")
    assert joined.user_id == user
