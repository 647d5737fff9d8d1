"""The handlers on fakes: what they ask, in which order, and what is committed when they raise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from auth_service import AuthServiceSettings
from auth_service.background import Background, BackgroundBusy
from auth_service.domain.errors import (
    EmailTaken,
    InvalidCredentials,
    LastOwner,
    RefreshTokenInvalid,
    RegistrationClosed,
    ResetTokenInvalid,
)
from auth_service.domain.one_time_token import new_token
from auth_service.domain.password import Passwords
from auth_service.domain.refresh_token import RefreshToken, RefreshTokens
from auth_service.domain.throttle import Limits
from auth_service.handlers import login, password, registration, users
from auth_service.handlers.login import Device
from auth_service.handlers.registration import Applicant
from auth_service.keyring import Keyring, LoadedKeys
from auth_service.queries import refresh_tokens as refresh_queries
from auth_service.queries import reset_tokens as reset_queries
from auth_service.queries import sessions as session_queries
from auth_service.queries import users as user_queries
from auth_service.service import Service
from auth_service.tenants import Invitation, Tenants
from mtenant_chassis import AuditTrail, Chassis, KeySet, Principal, Settings
from mtenant_chassis.auth import generate_key
from mtenant_chassis.etag import Condition
from mtenant_chassis.mail import Mail
from mtenant_chassis.ratelimit import RateLimiter
from mtenant_chassis.testing import RecordingOutbox
from mtenant_database import DatabaseConfig, TenantNotFound
from mtenant_database.testing import RecordingDatabase, RecordingTenant

pytestmark = pytest.mark.anyio

USER = UUID(int=1)
SESSION = UUID(int=2)
FAMILY = UUID(int=3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUDIT = AuditTrail("auth-service", "anonymous", "r1")
HERE = Device("192.0.2.7", "a browser")


class FakeMailer:
    def __init__(self) -> None:
        self.added: list[Mail] = []

    async def add(self, tx: Any, mail: Mail) -> None:
        self.added.append(mail)


@dataclass
class FakeTenants:
    open: bool = False
    found: Invitation | None = None

    async def is_open(self, tenant: str) -> bool:
        return self.open

    async def invitation(self, tenant: str, token: str) -> Invitation | None:
        return self.found


@dataclass
class FakeChassis:
    """As much of a chassis as the handlers know."""

    database: RecordingDatabase = field(default_factory=RecordingDatabase)
    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)
    mailer: FakeMailer = field(default_factory=FakeMailer)
    limits: RateLimiter = field(default_factory=RateLimiter)
    settings: Settings = field(
        default_factory=lambda: Settings(
            service="auth-service", database=DatabaseConfig(name="crm")
        )
    )

    def tenant(self, tenant: str) -> RecordingTenant:
        return self.database.tenant(tenant)


@dataclass
class Desk:
    """A service on fakes."""

    service: Service
    chassis: FakeChassis
    tenants: FakeTenants
    hashed: str

    @property
    def database(self) -> RecordingDatabase:
        return self.chassis.database

    def row(self, **changes: Any) -> dict[str, Any]:
        usual = {
            "id": USER,
            "email": "ada@example.com",
            "name": "Ada",
            "role": "member",
            "status": "active",
            "password_hash": self.hashed,
            "email_verified_at": NOW,
            "last_login_at": None,
            "created_at": NOW,
            "updated_at": NOW,
            "version": 1,
        }
        return {**usual, **changes}

    def outcomes(self, *parts: str) -> list[str]:
        return [
            one.outcome
            for one in self.database.recorded
            if all(part in one.statement for part in parts)
        ]


@asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    chassis, tenants, keyring = FakeChassis(), FakeTenants(), Keyring()

    async def load() -> LoadedKeys:
        return LoadedKeys(KeySet({"k": generate_key()}), "k")

    passwords = Passwords(memory=8192, passes=1, workers=1)
    async with keyring.open(load), passwords, Background() as background:
        service = Service(
            chassis=cast("Chassis", chassis),
            settings=AuthServiceSettings(),
            keyring=keyring,
            passwords=passwords,
            refresh_tokens=RefreshTokens(b"k" * 32),
            limits=Limits.of(account=10, address=10),
            clients={},
            tenants=cast("Tenants", tenants),
            background=background,
        )
        yield Desk(service, chassis, tenants, await passwords.hash("right"))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened() as made:
        yield made


async def log_in(desk: Desk, given: str = "right") -> Any:
    return await login.login(
        desk.service, "acme", "ada@example.com", given, device=HERE, audit=AUDIT
    )


async def test_a_refused_login_is_one_query_and_writes_nothing(desk: Desk) -> None:
    for rows in ([], [desk.row(status="disabled")], [desk.row(password_hash=None)], [desk.row()]):
        desk.database.recorded.clear()
        desk.database.on(user_queries._BY_EMAIL, rows=rows)
        with pytest.raises(InvalidCredentials):
            await log_in(desk, "wrong" if rows and rows[0]["status"] == "active" else "right")
        assert len(desk.database.recorded) == 1
    assert desk.chassis.outbox.added == []


async def test_a_tenant_that_is_not_there_is_a_refused_login(desk: Desk) -> None:
    desk.database.on(user_queries._BY_EMAIL, error=TenantNotFound())

    with pytest.raises(InvalidCredentials):
        await log_in(desk)


async def test_session_event_and_audit_are_of_one_transaction(desk: Desk) -> None:
    desk.database.on(user_queries._BY_EMAIL, rows=[desk.row()])
    desk.database.on(user_queries._LOGIN, rows=[desk.row()])
    issued = await log_in(desk)

    assert issued.refresh_token is not None
    assert len(desk.chassis.outbox.added) == 1
    assert [one.outcome for one in desk.database.recorded] == ["committed"] * 4
    assert "right" not in repr([one.params for one in desk.database.recorded])
    assert issued.access_token not in repr([one.params for one in desk.database.recorded])


async def test_a_password_that_changes_meanwhile_is_looked_at_once_more_and_then_refused(
    desk: Desk,
) -> None:
    desk.database.on(user_queries._BY_EMAIL, rows=[desk.row()])
    desk.database.on(user_queries._LOGIN, rows=[])

    with pytest.raises(InvalidCredentials):
        await log_in(desk)
    assert len(desk.outcomes("select", "from users where email")) == 2
    assert desk.outcomes("insert into sessions") == []


def family(counter: int, since: timedelta | None, *, alive: bool = True) -> dict[str, Any]:
    return {
        "user_id": USER,
        "email": "ada@example.com",
        "role": "member",
        "session_id": SESSION,
        "counter": counter,
        "since_rotation": since,
        "alive": alive,
    }


async def test_a_stolen_token_is_revoked_in_a_transaction_that_is_over_when_it_raises(
    desk: Desk,
) -> None:
    desk.database.on(refresh_queries._ROTATE, rows=[])
    desk.database.on(refresh_queries._FIND, rows=[family(7, timedelta(seconds=11))])
    desk.database.on(session_queries._REVOKE, rows=[{"id": SESSION, "version": 2}])
    text = desk.service.refresh_tokens.write(RefreshToken("acme", FAMILY, 6))

    with pytest.raises(RefreshTokenInvalid):
        await login.refresh(desk.service, text, audit=AUDIT)
    assert desk.outcomes("update sessions set revoked_at") == ["committed"]
    assert desk.outcomes("insert into audit_entries") == ["committed"]


@pytest.mark.parametrize(
    ("counter", "since", "alive"),
    [(7, timedelta(seconds=11), False), (6, None, True), (5, None, True)],
)
async def test_a_token_that_has_ended_revokes_nothing(
    desk: Desk, counter: int, since: timedelta | None, alive: bool
) -> None:
    desk.database.on(refresh_queries._ROTATE, rows=[])
    desk.database.on(refresh_queries._FIND, rows=[family(counter, since, alive=alive)])
    text = desk.service.refresh_tokens.write(RefreshToken("acme", FAMILY, 6))

    with pytest.raises(RefreshTokenInvalid):
        await login.refresh(desk.service, text, audit=AUDIT)
    assert desk.outcomes("update sessions set revoked_at") == []


async def test_a_forged_refresh_token_costs_no_query(desk: Desk) -> None:
    forged = RefreshTokens(b"x" * 32).write(RefreshToken("acme", FAMILY, 0))

    with pytest.raises(RefreshTokenInvalid):
        await login.refresh(desk.service, forged, audit=AUDIT)
    assert desk.database.recorded == []


async def test_a_reset_that_finds_the_token_used_changes_no_password(desk: Desk) -> None:
    text, _ = new_token("acme")
    desk.database.on(reset_queries._FIND, rows=[{"email": "ada@example.com"}])
    desk.database.on(reset_queries._USE, rows=[])

    with pytest.raises(ResetTokenInvalid):
        await password.reset(desk.service, text, "a good long password", audit=AUDIT)
    assert desk.outcomes("update users") == []
    assert desk.chassis.outbox.added == []


async def test_the_role_is_the_invitations(desk: Desk) -> None:
    desk.tenants.found = Invitation("i1", "ADA@example.com", "manager")
    desk.database.on(user_queries._ADD, rows=[desk.row(role="manager")])
    applicant = Applicant("ada@example.com", "Ada", "a good long password")
    user = await registration.register(
        desk.service, "acme", applicant, invitation_token="t", device=HERE, audit=AUDIT
    )

    assert user is not None
    (added,) = [one for one in desk.database.recorded if "insert into users" in one.statement]
    assert cast("list[Any]", added.params)[3] == "manager"
    assert desk.chassis.outbox.added[0][1].invitation_id == "i1"


async def test_an_invited_person_who_has_an_account_is_told_and_a_closed_door_asks_nothing(
    desk: Desk,
) -> None:
    desk.database.on(user_queries._ADD, rows=[])
    applicant = Applicant("ada@example.com", "Ada", "a good long password")
    with pytest.raises(RegistrationClosed):
        await registration.register(
            desk.service, "acme", applicant, invitation_token=None, device=HERE, audit=AUDIT
        )
    assert desk.database.recorded == []
    desk.tenants.found = Invitation("i1", "ada@example.com", "viewer")
    with pytest.raises(EmailTaken):
        await registration.register(
            desk.service, "acme", applicant, invitation_token="t", device=HERE, audit=AUDIT
        )


async def test_the_last_owner_is_not_disabled(desk: Desk) -> None:
    desk.database.on(user_queries._OWNERS, rows=[{"id": USER}])
    desk.database.on(user_queries._LOCK, rows=[desk.row(role="owner")])
    actor = Principal(id="tenant-service", tenant="acme", kind="service")

    with pytest.raises(LastOwner):
        await users.set_status(
            desk.service,
            desk.service.tenant("acme"),
            actor,
            USER,
            "disabled",
            if_match=Condition(),
            audit=AUDIT,
        )
    assert desk.outcomes("update users") == []


async def test_what_goes_on_after_an_answer_is_bounded_logged_and_waited_for() -> None:
    done: list[int] = []
    gate = asyncio.Event()

    async def work(number: int) -> None:
        await gate.wait()
        if number == 0:
            raise OSError("away")
        done.append(number)

    async with Background() as background:
        for number in range(200):
            background.check_room()
            background.start(work(number))
        with pytest.raises(BackgroundBusy):
            background.check_room()
        gate.set()
    assert sorted(done) == list(range(1, 200))
