from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis import Chassis, Router, Settings, Tenant, authenticated, create_app
from mtenant_chassis.mail import MemoryTransport
from mtenant_chassis.migrate import deploy
from mtenant_chassis.testing import Issuer, Place, RecordingEvents, RecordingOutbox, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio


class Watched(RecordingEvents):
    """Writes down what is there when."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__(RecordingOutbox())
        self.steps = steps

    @asynccontextmanager
    async def open(self, chassis: object) -> AsyncIterator[Watched]:
        assert isinstance(chassis, Chassis)
        await chassis.database.shared().fetch_value("select 1")
        self.steps.append("events open")
        try:
            yield self
        finally:
            await chassis.database.shared().fetch_value("select 1")
            self.steps.append("events closed")

    async def consume(self) -> None:
        self.steps.append("consumers start")

    async def stop_consuming(self) -> None:
        self.steps.append("consumers stopped")


async def test_it_opens_in_order_and_closes_in_the_opposite_one(notes_app: Any, acme: str) -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def own(chassis: Chassis) -> AsyncIterator[None]:
        steps.append(f"own open, {chassis.health.phase}")
        try:
            yield
        finally:
            await chassis.tenant(acme).fetch_value("select 1")
            steps.append(f"own closed, {chassis.health.phase}")

    app = notes_app(events=Watched(steps).open, startup=own, mail=MemoryTransport())
    for _ in range(2):  # an app may be opened again
        steps.clear()
        async with app.router.lifespan_context(app):
            steps.append(app.state.chassis.health.phase)
        assert steps == [
            "events open",
            "consumers start",
            "own open, starting",
            "ready",
            "own closed, draining",
            "consumers stopped",
            "events closed",
        ]
    with pytest.raises(RuntimeError, match="not running"):
        _ = app.state.chassis.database


async def test_what_fails_at_the_start_leaves_nothing_open(notes_app: Any) -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def fails(chassis: Chassis) -> AsyncIterator[None]:
        raise LookupError("a part of the service")
        yield

    app = notes_app(events=Watched(steps).open, startup=fails, mail=MemoryTransport())
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    with pytest.raises(LookupError):
        async with app.router.lifespan_context(app):
            pass
    await asyncio.sleep(0)
    gc.collect()

    assert steps == ["events open", "consumers start", "consumers stopped", "events closed"]
    assert threading.active_count() == threads
    assert len(asyncio.all_tasks()) == tasks
    assert app.state.chassis.health.phase == "starting"
    with pytest.raises(RuntimeError, match="not running"):
        _ = app.state.chassis.database


async def test_a_start_that_is_cancelled_leaves_nothing_open(notes_app: Any) -> None:
    steps: list[str] = []
    inside = asyncio.Event()

    @asynccontextmanager
    async def hangs(chassis: Chassis) -> AsyncIterator[None]:
        inside.set()
        await asyncio.Event().wait()
        yield

    app = notes_app(events=Watched(steps).open, startup=hangs)

    async def open_it() -> None:
        async with app.router.lifespan_context(app):
            pass

    opening = asyncio.create_task(open_it())
    async with asyncio.timeout(30):
        await inside.wait()
        opening.cancel()
        await asyncio.wait({opening})

    assert opening.cancelled()
    assert steps[-1] == "events closed"


async def test_apps_in_one_process_do_not_know_of_each_other(
    notes_app: Any, place: Place, acme: str
) -> None:
    one = notes_app("note-service", keys=Issuer().keys)
    issuer = Issuer()
    two = notes_app("pen-service", keys=issuer.keys)
    async with running(one) as first, running(two) as second:
        member = issuer.bearer(acme, "member")
        refused = await first.get("/api/notes", headers=member)
        answered = await second.get("/api/notes", headers=member)
        one.state.chassis.drain()
        ready = (await first.get("/ready"), await second.get("/ready"))
        told = (await first.get("/metrics")).text

    assert (refused.status_code, answered.status_code) == (401, 200)
    assert [one.status_code for one in ready] == [503, 200]
    assert 'route="/api/notes",status="200"' not in told


async def test_five_apps_in_one_process_work_and_one_that_ends_takes_nothing_along(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    apps = [notes_app(f"note-{number}-service") for number in ("a", "b", "c", "d", "e")]
    member = issuer.bearer(acme, "member")
    async with running(apps[0]) as first, running(apps[1]) as second, running(apps[2]) as third:
        async with running(apps[3]) as fourth, running(apps[4]) as fifth:
            clients = (first, second, third, fourth, fifth)
            answers = await asyncio.gather(
                *(client.get("/api/notes", headers=member) for client in clients for _ in range(5))
            )
            assert {one.status_code for one in answers} == {200}
        answers = [await c.get("/api/notes", headers=member) for c in (first, second, third)]
        assert {one.status_code for one in answers} == {200}


def components(place: Place) -> list[tuple[Any, ...]]:
    return place.rows("select distinct component from shared.component_migrations order by 1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations of a service of pens."""
    (tmp_path / "tenant").mkdir()
    (tmp_path / "tenant" / "001_pens.sql").write_text(
        "-- Migration: Pens\n-- Version: 001\n-- Description: pens\n\n"
        "CREATE TABLE pens (id uuid PRIMARY KEY);\nCREATE INDEX pens_by_id ON pens (id);\n"
    )
    (tmp_path / "tenant" / "001_rollback.sql").write_text(
        "-- Rollback: Pens\n-- Version: 001\n-- Description: undo: pens\n\nDROP TABLE pens;\n"
    )
    return tmp_path


def on_start(place: Place, *, asked: bool) -> Settings:
    """Settings of a service that may take the owner's role."""
    database = DatabaseConfig(url=Secret(place.owner), max_retries=0, auto_migrate=asked)
    return Settings(service="pen-service", database=database, migrate=place.migrate)


async def test_migrations_run_on_start_when_asked_and_twice_is_once(
    postgres_dsn: str, folder: Path, issuer: Issuer
) -> None:
    place = await asyncio.to_thread(Place.make, postgres_dsn)
    tenant = await place.new_tenant()
    table = f"select to_regclass('tenant_{tenant}.pens') is not null"

    quiet = create_app(on_start(place, asked=False), routers=[], migrations=folder)
    async with running(quiet):
        assert place.rows(table) == [(False,)]

    apps = [
        create_app(on_start(place, asked=True), routers=[], migrations=folder) for _ in range(2)
    ]
    async with running(apps[0]) as one, running(apps[1]) as two:
        assert (await one.get("/ready")).status_code == 200
        assert (await two.get("/ready")).status_code == 200
        assert place.rows(table) == [(True,)]
        assert place.rows(f"select to_regclass('tenant_{await place.new_tenant()}.pens')") != [
            (None,)
        ]


async def test_a_tenant_whose_migration_failed_is_refused_and_named_in_the_log(
    postgres_dsn: str, folder: Path, issuer: Issuer
) -> None:
    place = await asyncio.to_thread(Place.make, postgres_dsn)
    broken = await place.new_tenant()
    place.rows(f"create table tenant_{broken}.pens_by_id (id int)")
    router = Router()

    @router.get("/api/pens", dependencies=[authenticated()])
    async def pens(tenant: Tenant) -> int:
        return len(await tenant.fetch_all("select id from pens"))

    settings = on_start(place, asked=True)
    with recorded_logs() as logs:
        app = create_app(
            settings,
            routers=[router],
            migrations=folder,
            needs={"pen": 1},
            keys=issuer.keys,
        )
        async with running(app) as client:
            ready = await client.get("/ready")
            refused = await client.get("/api/pens", headers=issuer.bearer(broken, "owner"))
            fresh = issuer.bearer(await place.new_tenant(), "owner")
            served = await client.get("/api/pens", headers=fresh)

    (told,) = [one for one in logs.records if one["message"] == "migrations failed"]
    assert broken in told["report"]
    assert ready.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "TENANT_NOT_READY")
    assert int(refused.headers["retry-after"]) >= 1
    assert (served.status_code, served.json()) == (200, 0)


async def test_deploying_is_the_chassis_first_and_then_the_service(
    postgres_dsn: str, folder: Path
) -> None:
    place = await asyncio.to_thread(Place.make, postgres_dsn, {})
    await place.new_tenant()
    reports = await deploy(on_start(place, asked=False), folder)
    again = await deploy(on_start(place, asked=False), folder)

    assert [report.exit_code for report in (*reports, *again)] == [0] * (2 * len(reports))
    assert any("pen" in step for step in reports[-1].results[0].steps)
    assert not any(result.steps for report in again for result in report.results)
