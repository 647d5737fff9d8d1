from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mtenant_chassis.testing import Issuer, Place, running

pytestmark = pytest.mark.anyio


def remains(place: Place, subdomain: str, tenant: str) -> list[str]:
    """Tell what there is of an organization."""
    return [
        name
        for name, query in {
            "organization": f"select 1 from shared.organizations where subdomain = '{subdomain}'",
            "name": f"select 1 from shared.subdomains where name = '{subdomain}'",
            "registry": f"select 1 from shared.tenants where id = '{tenant}'",
            "schema": f"select 1 from pg_namespace where nspname = 'tenant_{tenant}'",
        }.items()
        if place.rows(query)
    ]


ALL = ["organization", "name", "registry", "schema"]


def row(place: Place, subdomain: str) -> tuple[Any, ...]:
    (found,) = place.rows(
        "select tenant, state, error, attempt, owner_email from shared.registrations"
        f" where subdomain = '{subdomain}' order by created_at desc limit 1"
    )
    return found


async def test_an_organization_is_registered_with_schema_owner_event_and_login_context(
    service: Any, auth: Any, place: Place, issuer: Issuer, new_application: Any
) -> None:
    asked = new_application()
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        assert answer.status_code == 201, answer.text
        said = answer.json()
        assert said["status"] == "done"
        assert said["login"] == {
            "tenant": said["tenant"],
            "subdomain": asked["subdomain"],
            "email": asked["owner"]["email"],
        }
        assert asked["owner"]["password"] not in answer.text

        current = await client.get(
            "/api/tenants/current", headers=issuer.bearer(said["tenant"], "viewer")
        )
        assert current.status_code == 200
        assert current.json()["status"] == "active"
        assert current.json()["plan"] == {"name": "free", "users": 5}

        status = await client.get(answer.headers["location"])
        assert status.json() == {"id": said["id"], "status": "done", "error": None}

    assert remains(place, asked["subdomain"], said["tenant"]) == ALL
    (owner,) = auth.of(said["tenant"])
    assert (owner["id"], owner["role"]) == (said["owner_id"], "owner")
    assert owner["email_verified"] is False  # anybody may have typed it
    assert list(auth.passwords.values()) == [asked["owner"]["password"]]
    (created,) = service.told("TenantCreated", said["tenant"])
    assert created.subdomain == asked["subdomain"]
    assert row(place, asked["subdomain"])[4] is None


async def test_of_twenty_registrations_of_one_subdomain_one_succeeds(
    service: Any, place: Place, new_application: Any
) -> None:
    asked = new_application()
    async with running(service.app) as client:
        answers = await asyncio.gather(
            *(client.post("/api/tenants/register", json=asked) for _ in range(20))
        )

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * 19
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes == {"SUBDOMAIN_TAKEN"}
    name = asked["subdomain"]
    assert len(place.rows(f"select 1 from shared.organizations where subdomain = '{name}'")) == 1
    assert len(place.rows(f"select 1 from shared.registrations where subdomain = '{name}'")) == 1


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("www", 409, "SUBDOMAIN_RESERVED"),
        ("ADMIN", 409, "SUBDOMAIN_RESERVED"),
        ("xn--pypl-5ve", 400, "VALIDATION_FAILED"),
        ("ab--cd", 400, "VALIDATION_FAILED"),
        ("-acme", 400, "VALIDATION_FAILED"),
        ("acme-", 400, "VALIDATION_FAILED"),
        ("ac", 400, "VALIDATION_FAILED"),
        ("a" * 64, 400, "VALIDATION_FAILED"),
        ("ac_me", 400, "VALIDATION_FAILED"),
        ("a.b.c", 400, "VALIDATION_FAILED"),
        ("müller", 400, "VALIDATION_FAILED"),
        ("acme\n", 400, "VALIDATION_FAILED"),
        ("0123456789abcdef0123456789abcdef", 400, "VALIDATION_FAILED"),
    ],
)
async def test_a_subdomain_that_nobody_may_have_is_refused(
    service: Any, new_application: Any, name: str, status: int, code: str
) -> None:
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=new_application(subdomain=name))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert name not in answer.text or name in {"ac", "www"}


async def test_case_makes_no_difference_to_a_subdomain(service: Any, new_application: Any) -> None:
    asked = new_application()
    async with running(service.app) as client:
        first = await client.post("/api/tenants/register", json=asked)
        upper = {**asked, "subdomain": asked["subdomain"].upper()}
        second = await client.post("/api/tenants/register", json=upper)
        free = await client.get(f"/api/tenants/subdomains/{asked['subdomain'].upper()}")

    assert first.status_code == 201
    assert second.json()["code"] == "SUBDOMAIN_TAKEN"
    assert free.json() == {"subdomain": asked["subdomain"], "available": False, "reason": "taken"}


async def test_availability_tells_free_taken_and_reserved(service: Any, registered: Any) -> None:
    async with running(service.app) as client:
        one = await registered(client)
        reasons = {}
        for name in (one.subdomain, "www", "surely-free-name"):
            said = (await client.get(f"/api/tenants/subdomains/{name}")).json()
            reasons[said["subdomain"]] = (said["available"], said["reason"])

    assert list(reasons.values()) == [(False, "taken"), (False, "reserved"), (True, None)]


async def test_what_auth_service_refuses_is_the_clients_answer_and_leaves_nothing(
    service: Any, auth: Any, place: Place, new_application: Any
) -> None:
    asked = new_application()
    auth.failures = [422]
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        tenant = row(place, asked["subdomain"])[0]
        assert (answer.status_code, answer.json()["code"]) == (422, "PASSWORD_WEAK")
        assert remains(place, asked["subdomain"], tenant) == []

        again = await client.post("/api/tenants/register", json=asked)

    assert again.status_code == 201


async def test_without_auth_service_a_registration_is_accepted_and_finished_by_the_client(
    service: Any, auth: Any, place: Place, new_application: Any
) -> None:
    asked, key = new_application(), {"idempotency-key": "k1"}
    auth.failures = [0] * 9
    async with running(service.app) as client:
        first = await client.post("/api/tenants/register", json=asked, headers=key)
        assert first.status_code == 202, first.text
        assert first.json()["status"] == "running"
        status = await client.get(first.headers["location"])
        assert status.json()["error"] == "CALLEE_UNAVAILABLE"

        auth.failures = []
        service.app.state.chassis.service("auth-service").breaker.succeeded()
        second = await client.post("/api/tenants/register", json=asked, headers=key)
        assert second.status_code == 201, second.text
        third = await client.post("/api/tenants/register", json=asked, headers=key)
        other = await client.post(
            "/api/tenants/register", json={**asked, "name": "Other"}, headers=key
        )
        stranger = await client.post(
            "/api/tenants/register", json=asked, headers={"idempotency-key": "k2"}
        )

    assert second.json()["tenant"] == first.json()["tenant"]
    assert third.status_code == 201
    assert third.json() == second.json()
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (stranger.status_code, stranger.json()["code"]) == (409, "SUBDOMAIN_TAKEN")
    assert auth.passwords
    assert len(service.told("TenantCreated")) == 1


async def test_one_registration_sent_many_times_at_once_by_its_key_is_made_once(
    service: Any, auth: Any, place: Place, new_application: Any
) -> None:
    asked, key = new_application(), {"idempotency-key": "once"}
    async with running(service.app) as client:
        answers = await asyncio.gather(
            *(client.post("/api/tenants/register", json=asked, headers=key) for _ in range(10))
        )
        last = await client.post("/api/tenants/register", json=asked, headers=key)

    made = {answer.json()["tenant"] for answer in answers if answer.status_code == 201}
    waiting = [answer for answer in answers if answer.status_code != 201]
    assert made == {last.json()["tenant"]}
    assert {answer.json()["code"] for answer in waiting} <= {"REGISTRATION_RUNNING"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in waiting)
    assert len(auth.users) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "two\nlines"},
        {"name": "a\x00b"},
        {"name": " "},
        {"name": "x" * 201},
        {"plan": "enterprise"},
        {"owner": {"email": "a@b, c@d", "name": "A", "password": "correct horse"}},
        {"owner": {"email": "a@b.c", "name": "A", "password": "short"}},
        {"owner": {"email": "a@b.c", "name": "A", "password": "x" * 257}},
        {"owner": {"email": "a@b.c", "name": "A", "password": "correct horse", "role": "owner"}},
        {"owner": None},
    ],
)
async def test_a_request_that_fits_no_schema_takes_no_name(
    service: Any, place: Place, new_application: Any, change: dict[str, Any]
) -> None:
    asked = new_application(**change)
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert "correct horse" not in answer.text
    assert remains(place, asked["subdomain"], "") == []


async def test_half_a_character_is_refused_and_not_a_fault(
    service: Any, new_application: Any
) -> None:
    body = json.dumps(new_application()).replace("correct horse", "\\ud800 correct horse")
    async with running(service.app) as client:
        answer = await client.post(
            "/api/tenants/register", content=body, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
