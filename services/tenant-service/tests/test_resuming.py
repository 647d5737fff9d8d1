"""A registration that fails anywhere is finished, or leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis.testing import Place, RecordingEvents, running
from mtenant_config import ConfigError
from mtenant_database import migrate
from mtenant_errors import ServiceUnavailable
from tenant_service import create, worker
from tenant_service.handlers import registration as handler
from tenant_service.handlers.registration import Registrar

pytestmark = pytest.mark.anyio

STEPS = ["_provision", "_organize", "_create_owner", "_finish"]
TABLES = {
    "organization": "select 1 from shared.organizations where subdomain = '{name}'",
    "name": "select 1 from shared.subdomains where name = '{name}'",
    "registry": "select 1 from shared.tenants where id = '{tenant}'",
    "schema": "select 1 from pg_namespace where nspname = 'tenant_{tenant}'",
}


def remains(place: Place, name: str, tenant: str) -> list[str]:
    return [
        what for what, query in TABLES.items() if place.rows(query.format(name=name, tenant=tenant))
    ]


def registration(place: Place, name: str) -> tuple[str, str]:
    (found,) = place.rows(
        f"select tenant, state from shared.registrations where subdomain = '{name}'"
    )
    return found[0], found[1]


def make_due(place: Place, name: str) -> None:
    """Let time pass for a registration: lease and wait are over."""
    place.rows(
        "update shared.registrations set lease_until = now(), due_at = now()"
        f" where subdomain = '{name}'"
    )


@pytest.fixture(autouse=True)
def quick_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL", 0.02)


def failing(step: str, when: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a step fail once, before or after it was done."""
    left = [1]
    real = getattr(Registrar, step)

    async def fails(self: Registrar, one: Any, *more: Any) -> None:
        if when == "after" or not left:
            await real(self, one, *more)
        if left:
            left.pop()
            raise ServiceUnavailable("away", code="AWAY")

    monkeypatch.setattr(Registrar, step, fails)
    return left


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_is_done_again_by_the_worker(
    *,
    step: str,
    when: str,
    service: Any,
    place: Place,
    auth: Any,
    monkeypatch: pytest.MonkeyPatch,
    new_application: Any,
    eventually: Any,
) -> None:
    asked = new_application()
    name = asked["subdomain"]
    left = failing(step, when, monkeypatch)
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        assert not left
        assert answer.status_code == (201 if (step, when) == ("_finish", "after") else 202)
        make_due(place, name)
        await eventually(lambda: registration(place, name)[1] == "done")

    tenant, _ = registration(place, name)
    assert remains(place, name, tenant) == list(TABLES)
    assert len(auth.of(tenant)) == 1
    assert len(service.told("TenantCreated", tenant)) == 1
    # The worker never knew the password: the owner is asked for one by mail.
    assert bool(auth.passwords) == (step == "_finish" or (step, when) == ("_create_owner", "after"))


@pytest.mark.parametrize("step", STEPS)
async def test_what_keeps_failing_is_given_up_and_leaves_nothing(
    *,
    step: str,
    service: Any,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    new_application: Any,
    eventually: Any,
) -> None:
    asked = new_application()
    name = asked["subdomain"]

    async def fails(self: Registrar, one: Any, *more: Any) -> None:
        raise ServiceUnavailable("away", code="AWAY")

    monkeypatch.setattr(Registrar, step, fails)
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        assert answer.status_code == 202
        place.rows(
            "update shared.registrations set created_at = now() - interval '2 days'"
            f" where subdomain = '{name}'"
        )
        make_due(place, name)
        await eventually(lambda: registration(place, name)[1] == "failed")
        status = await client.get(answer.headers["location"])

    assert (status.json()["status"], status.json()["error"]) == ("failed", "AWAY")
    assert remains(place, name, registration(place, name)[0]) == []
    assert service.told("TenantCreated") == []
    (kept,) = place.rows(
        f"select owner_email, owner_name, key from shared.registrations where subdomain = '{name}'"
    )
    assert kept == (None, None, None)


async def test_a_removal_that_fails_is_done_again(
    *,
    service: Any,
    place: Place,
    auth: Any,
    monkeypatch: pytest.MonkeyPatch,
    new_application: Any,
    eventually: Any,
) -> None:
    asked, left, real = new_application(), [1], migrate.drop
    name = asked["subdomain"]

    async def drop(*args: Any, **named: Any) -> None:
        if left:
            left.pop()
            raise ServiceUnavailable("away")
        await real(*args, **named)

    monkeypatch.setattr(handler, "drop", drop)
    auth.failures = [422]
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        assert answer.status_code == 503
        make_due(place, name)
        await eventually(lambda: registration(place, name)[1] == "failed")

    assert remains(place, name, registration(place, name)[0]) == []


async def test_a_process_that_slept_through_its_lease_changes_nothing(
    service: Any, place: Place, monkeypatch: pytest.MonkeyPatch, new_application: Any
) -> None:
    asked = new_application()
    name = asked["subdomain"]
    real = Registrar._provision

    async def sleeps(self: Registrar, one: Any) -> None:
        # Meanwhile another process has taken over, given up, and removed everything.
        place.rows(
            "update shared.registrations set attempt = attempt + 1, state = 'failed',"
            f" finished_at = now() where subdomain = '{name}'"
        )
        place.rows(f"delete from shared.subdomains where name = '{name}'")
        await real(self, one)

    monkeypatch.setattr(Registrar, "_provision", sleeps)
    monkeypatch.setattr(worker, "POLL", 3600.0)
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)

    assert answer.status_code == 503
    assert answer.json()["code"] == "REGISTRATION_LOST"
    assert remains(place, name, registration(place, name)[0]) == []


async def test_what_is_over_long_ago_is_forgotten(
    service: Any, place: Place, new_application: Any
) -> None:
    asked = new_application()
    async with running(service.app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        place.rows(
            "update shared.registrations set finished_at = now() - interval '2 days'"
            f" where subdomain = '{asked['subdomain']}'"
        )
        await Registrar(service.app.state.chassis, service.own).sweep()
        status = await client.get(answer.headers["location"])

    assert status.status_code == 404
    assert remains(place, asked["subdomain"], answer.json()["tenant"]) == list(TABLES)


async def test_a_worker_that_fails_goes_on(
    service: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    turns: list[int] = []
    real = Registrar.take_over

    async def fails_first(self: Registrar) -> bool:
        turns.append(1)
        if len(turns) == 1:
            raise ServiceUnavailable("the database is away")
        return await real(self)

    monkeypatch.setattr(Registrar, "take_over", fails_first)
    async with running(service.app):
        await eventually(lambda: len(turns) > 2)


async def test_without_a_secret_of_its_own_the_service_does_not_start(
    place: Place, service: Any
) -> None:
    settings = place.settings("tenant-service", services={"auth-service": "http://auth"})
    app = create(settings, service.own, events=RecordingEvents().open)
    with pytest.raises(ConfigError, match="SERVICE_CLIENT_SECRET"):
        async with running(app):
            pass


CRASHES = [(step, when) for step in STEPS for when in ("before", "after")]
REMOVALS = [("_drop", "before"), ("_drop", "after"), ("_remove", "before")]


def name_of(step: str, when: str) -> str:
    made = "killed" if step in STEPS else "refused"
    return f"{made}-{step.strip('_').replace('_', '-')}-{when}"


def kill(place: Place, crashes: list[str]) -> list[int]:
    """Let processes begin registrations and die; return how they ended."""
    roles = {"DB_OWNER_ROLE": place.migrate.owner or "", "DB_APP_ROLE": place.migrate.app or ""}
    script = Path(__file__).with_name("killed.py")
    ended = subprocess.run(
        [sys.executable, str(script), place.app, place.owner, *crashes],
        env={**os.environ, **roles},
        capture_output=True,
        timeout=120,
        check=True,
        text=True,
    )
    return [int(status) for status in ended.stdout.split()]


@pytest.fixture(scope="module")
def killed(place: Place) -> None:
    """Processes that began registrations, each killed at another step."""
    crashes = [f"{step}:{when}:{name_of(step, when)}" for step, when in CRASHES + REMOVALS]
    assert kill(place, crashes) == [int(signal.SIGKILL)] * len(crashes)
    # However slow this machine is: nobody takes one over before its own test.
    place.rows(
        "update shared.registrations set lease_until = now() + interval '1 hour'"
        " where state in ('running', 'abandoning')"
    )


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize(("step", "when"), CRASHES)
async def test_a_process_killed_at_any_step_leaves_a_tenant_that_completes(
    *, step: str, when: str, service: Any, place: Place, auth: Any, eventually: Any
) -> None:
    name = name_of(step, when)
    tenant, state = registration(place, name)
    assert state == ("done" if (step, when) == ("_finish", "after") else "running")
    for table in ("registrations", "organizations"):
        stored = place.rows(f"select string_agg(r::text, ' ') from shared.{table} r")
        assert "correct horse" not in str(stored)

    async with running(service.app):
        make_due(place, name)
        await eventually(lambda: registration(place, name)[1] == "done")

    assert remains(place, name, tenant) == list(TABLES)
    if state == "running":
        assert [one["role"] for one in auth.of(tenant)] == ["owner"]
        assert len(service.told("TenantCreated", tenant)) == 1


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize(("step", "when"), REMOVALS)
async def test_a_process_killed_while_it_gave_up_leaves_a_tenant_that_is_gone(
    *, step: str, when: str, service: Any, place: Place, eventually: Any
) -> None:
    name = name_of(step, when)
    tenant, state = registration(place, name)
    assert state == "abandoning"
    async with running(service.app):
        make_due(place, name)
        await eventually(lambda: registration(place, name)[1] == "failed")

    assert remains(place, name, tenant) == []


@pytest.mark.slow
async def test_a_process_killed_at_any_moment_leaves_a_tenant_that_completes_or_is_gone(
    service: Any, place: Place, eventually: Any
) -> None:
    """Every 15 ms from before the first statement to after the last; the steps above are its bounded form."""
    names = {f"{('killed', 'refused')[n % 2]}-at-{n * 15}-ms": n * 15 for n in range(60)}
    await asyncio.to_thread(kill, place, [f"{ms}:x:{name}" for name, ms in names.items()])
    ends: set[str] = set()
    async with running(service.app):
        for name in names:
            if not place.rows(f"select 1 from shared.registrations where subdomain = '{name}'"):
                assert remains(place, name, "") == []
                ends.add("never was")
                continue
            make_due(place, name)
            await eventually(lambda name=name: registration(place, name)[1] in {"done", "failed"})
            tenant, state = registration(place, name)
            assert remains(place, name, tenant) == (list(TABLES) if state == "done" else [])
            ends.add(state)
    assert ends == {"never was", "done", "failed"}
