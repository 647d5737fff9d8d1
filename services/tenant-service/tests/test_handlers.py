"""The handlers on fakes: what they ask, what is committed, and what others are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import httpx2 as httpx
import pytest
from pydantic import SecretStr

from mtenant_chassis import AuditTrail, Cache, Chassis, ServiceClient, Settings
from mtenant_chassis.etag import Condition, VersionMismatch
from mtenant_chassis.testing import RecordingOutbox
from mtenant_database import DatabaseConfig
from mtenant_database.testing import RecordingDatabase, RecordingTenant
from mtenant_errors import AppError, Conflict, ServiceUnavailable, Unprocessable
from tenant_service import TenantServiceSettings
from tenant_service.domain.errors import (
    OrganizationBusy,
    OrganizationNotFound,
    PlanTooSmall,
    SubdomainReserved,
    SubdomainTaken,
)
from tenant_service.domain.event import TenantUpdated
from tenant_service.domain.settings import TenantSettings
from tenant_service.handlers import settings as settings_handler
from tenant_service.handlers.accounts import Accounts, is_refused
from tenant_service.handlers.lifecycle import Lifecycle
from tenant_service.handlers.organizations import Organizations
from tenant_service.queries import invitation as invitations
from tenant_service.queries import organization as organizations
from tenant_service.queries import registration as registrations
from tenant_service.queries import settings as rows

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = UUID(int=7)
AUDIT = AuditTrail("tenant-service", "user:u1", "r1")
LOCK = f"{organizations._GET} for no key update"


@dataclass
class FakeChassis:
    """As much of a chassis as these handlers know."""

    database: RecordingDatabase = field(default_factory=RecordingDatabase)
    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)
    cache: Cache = field(default_factory=Cache)
    settings: Settings = field(
        default_factory=lambda: Settings(
            service="tenant-service", database=DatabaseConfig(name="crm")
        )
    )
    auth: ServiceClient | None = None

    def tenant(self, tenant: str) -> RecordingTenant:
        return self.database.tenant(tenant)

    def service(self, name: str) -> ServiceClient:
        assert name == "auth-service"
        assert self.auth is not None
        return self.auth

    @property
    def events(self) -> list[Any]:
        return [event for _, event in self.outbox.added]

    def committed(self) -> list[str]:
        return [one.statement for one in self.database.recorded if one.outcome == "committed"]


@pytest.fixture
def chassis() -> FakeChassis:
    return FakeChassis()


def organization(**changes: Any) -> dict[str, Any]:
    usual = {
        "id": "acme",
        "name": "Acme",
        "subdomain": "acme-inc",
        "plan": "team",
        "status": "active",
        "exported_at": None,
        "created_at": NOW,
        "updated_at": NOW,
        "version": 3,
    }
    return {**usual, **changes}


async def rename(chassis: FakeChassis, name: str, if_match: Condition) -> Any:
    handler = Organizations(cast("Chassis", chassis))
    async with chassis.tenant("acme").transaction() as tx:
        return await handler.rename(cast("Any", tx), AUDIT, name, if_match)


async def test_a_new_name_is_told_with_its_version(chassis: FakeChassis) -> None:
    chassis.database.on(LOCK, rows=[organization()])
    changed = organization(name="New", version=4)
    chassis.database.on(organizations._CHANGE["name"], rows=[changed])

    await rename(chassis, "New", Condition(frozenset({'"v3"'})))

    assert chassis.events == [TenantUpdated("name", 4, "New")]
    assert organizations._CHANGE["name"] in chassis.committed()


async def test_the_same_name_again_changes_and_tells_nothing(chassis: FakeChassis) -> None:
    chassis.database.on(LOCK, rows=[organization()])

    await rename(chassis, "Acme", Condition())

    assert chassis.events == []
    assert chassis.committed() == [LOCK]


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ([], OrganizationNotFound),
        ([organization(status="provisioning")], OrganizationNotFound),
        ([organization(status="deleting")], OrganizationBusy),
        ([organization(version=9)], VersionMismatch),
    ],
)
async def test_an_organization_that_is_not_as_expected_is_not_changed(
    chassis: FakeChassis, found: list[dict[str, Any]], error: type[Exception]
) -> None:
    chassis.database.on(LOCK, rows=found)

    with pytest.raises(error):
        await rename(chassis, "New", Condition(frozenset({'"v3"'})))

    assert chassis.committed() == []
    assert chassis.events == []


async def move(chassis: FakeChassis, subdomain: str) -> Any:
    handler = Organizations(cast("Chassis", chassis))
    async with chassis.tenant("acme").transaction() as tx:
        return await handler.move(cast("Any", tx), AUDIT, subdomain, Condition())


async def test_a_name_that_is_not_to_be_had_is_refused_and_the_old_one_stays(
    chassis: FakeChassis,
) -> None:
    chassis.database.on(LOCK, rows=[organization()])
    chassis.database.on(registrations._TAKE, rows=[])

    with pytest.raises(SubdomainReserved):
        await move(chassis, "www")
    with pytest.raises(SubdomainTaken):
        await move(chassis, "taken")
    same = await move(chassis, "acme-inc")

    assert same.subdomain == "acme-inc"
    assert organizations._HOLD not in chassis.committed()
    assert chassis.events == []


async def test_a_plan_that_is_too_small_is_not_taken(chassis: FakeChassis) -> None:
    chassis.database.on(LOCK, rows=[organization()])
    chassis.database.on(rows._USERS, rows=[{"count": 4}])
    chassis.database.on(invitations._OPEN, rows=[{"count": 2}])
    handler = Organizations(cast("Chassis", chassis))

    with pytest.raises(PlanTooSmall) as raised:
        await handler.choose_plan("acme", AUDIT, "free")
    same = await handler.choose_plan("acme", AUDIT, "team")

    assert raised.value.params["used"] == 6
    assert same.plan == "team"
    assert chassis.events == []


async def test_settings_whose_event_cannot_be_written_are_not_changed_and_not_forgotten(
    chassis: FakeChassis,
) -> None:
    database = chassis.database
    database.on(rows._SETTINGS, rows=[{"values": {"currency": "EUR"}, "version": 1}])
    locked = f"{rows._SETTINGS} for update"
    database.on(locked, rows=[{"values": {"currency": "EUR"}, "version": 1}])
    database.on(rows._PUT_SETTINGS, rows=[{"version": 2}])
    handler = settings_handler.Settings(cast("Chassis", chassis))
    acme = cast("Any", chassis.tenant("acme"))
    await handler.get(acme)

    class Full(RecordingOutbox):
        async def add(self, tx: Any, event: Any, **more: Any) -> Any:
            raise ServiceUnavailable("full")

    chassis.outbox = Full()
    with pytest.raises(ServiceUnavailable):
        await handler.put(acme, AUDIT, TenantSettings(currency="CHF"), Condition())

    assert rows._PUT_SETTINGS not in chassis.committed()
    before = len(database.recorded)
    assert (await handler.get(acme)).values.currency == "EUR"
    assert len(database.recorded) == before  # it was in the cache still


@pytest.mark.parametrize(
    ("status", "verb", "error"),
    [
        ("deleting", "suspend", OrganizationNotFound),
        ("provisioning", "reactivate", OrganizationNotFound),
        ("reactivating", "suspend", OrganizationBusy),
        ("suspending", "reactivate", OrganizationBusy),
    ],
)
async def test_a_status_that_does_not_fit_changes_nothing(
    chassis: FakeChassis, status: str, verb: str, error: type[Exception]
) -> None:
    chassis.database.on(organizations._GET, rows=[organization(status=status)])
    handler = Lifecycle(cast("Chassis", chassis), TenantServiceSettings())

    with pytest.raises(error):
        await getattr(handler, verb)("acme", AUDIT)

    assert {one.statement for one in chassis.database.recorded} == {organizations._GET}


Answer = Callable[[httpx.Request], httpx.Response]


def problem(status: int, code: str) -> httpx.Response:
    body = {"title": "No", "status": status, "code": code, "retryable": False, "detail": "no"}
    fields = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(body), headers=fields)


async def create(answer: Answer, password: SecretStr | None = None) -> bool:
    transport = httpx.MockTransport(answer)
    async with ServiceClient("auth-service", "http://auth", transport=transport) as client:
        accounts = Accounts(cast("Chassis", FakeChassis(auth=client)), "acme")
        return await accounts.create(
            USER, email="a@example.com", name="Ada", role="owner", password=password, verified=False
        )


async def test_an_account_is_asked_for_with_a_password_only_if_there_is_one() -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("PUT", f"/api/auth/users/{USER}")
        asked.append(json.loads(request.content))
        return httpx.Response(201, json={})

    assert await create(answer)
    assert await create(answer, SecretStr("correct horse battery"))
    usual = {"email": "a@example.com", "name": "Ada", "role": "owner", "email_verified": False}
    assert asked == [usual, {**usual, "password": "correct horse battery"}]


async def test_an_address_that_is_taken_is_no_error_and_another_conflict_is() -> None:
    assert await create(lambda _: problem(409, "EMAIL_TAKEN")) is False
    with pytest.raises(Conflict):
        await create(lambda _: problem(409, "USER_ID_TAKEN"))


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        (422, "PASSWORD_WEAK", True),
        (400, "VALIDATION_FAILED", True),
        (400, "INVALID_SCOPE", False),
        (401, "TOKEN_INVALID", False),
        (403, "PERMISSION_MISSING", False),
        (404, "TENANT_NOT_FOUND", False),
        (429, "RATE_EXCEEDED", False),
    ],
)
async def test_only_what_is_about_the_account_is_for_the_client_to_hear(
    status: int, code: str, refused: bool
) -> None:
    with pytest.raises(AppError) as raised:
        await create(lambda _: problem(status, code))
    assert is_refused(raised.value) is refused


def test_a_refusal_of_our_own_is_no_refusal_of_auth_service() -> None:
    assert not is_refused(Unprocessable("no"))
