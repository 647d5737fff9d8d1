"""kill -9 at any point of a run, and two runs at once, each in a process of its own."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate import Fleet, History, MigrateSettings, Migration, provision
from mtenant_devstack import Stack

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

BASE = Migration.of(
    "contact", 1, "base", "create table people (id int); create table log (version int)"
)
FILES = History(
    [
        BASE,
        *(
            Migration.of(
                "contact",
                version,
                f"c{version}",
                # A second run of the same file would fail at the column, or leave a second row.
                f"insert into log values ({version}); alter table people add c{version} int",
            )
            for version in range(2, 6)
        ),
    ]
)
NEWEST = FILES[-1].version


async def prepare(db: ScratchDatabase, count: int) -> list[str]:
    """Make tenants at version 1, and register what is newer."""
    async with Fleet(db.deploy, settings=db.settings) as fleet:
        await fleet.install()
        await fleet.register(History([BASE]))
    names = iter([f"t{number:03}" for number in range(count)])

    async def worker() -> None:
        for name in names:
            await provision(db.deploy, name, settings=db.settings)

    await asyncio.gather(*(worker() for _ in range(4)))
    async with Fleet(db.deploy, settings=db.settings) as fleet:
        await fleet.register(FILES)
    return [f"t{number:03}" for number in range(count)]


def start(db: ScratchDatabase) -> subprocess.Popen[bytes]:
    settings = db.settings
    return subprocess.Popen(
        [sys.executable, "-m", "mtenant_database.migrate", "migrate", "up", "--dsn", db.deploy,
         "--owner", str(settings.owner), *(["--app", settings.app] if settings.app else [])],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",  # where there is no folder of migrations
    )  # fmt: skip


def run_and_kill(db: ScratchDatabase, chance: random.Random, signum: int) -> int:
    """Run the fleet; send the signal after some of its lines and a little while. Return the status."""
    process = start(db)
    stderr: IO[bytes] | None = process.stderr
    assert stderr is not None
    try:
        for _ in range(chance.randint(1, 8)):
            if not stderr.readline():
                break
        # Not a wait for anything: it moves the kill to another point of a transaction.
        time.sleep(chance.uniform(0, 0.01))
        process.send_signal(signum)
        stderr.read()
        return process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        stderr.close()


def check(db: ScratchDatabase, tenants: list[str]) -> None:
    """Every schema is at the newest version, and nothing was applied twice."""
    expected = [(version,) for version in range(2, NEWEST + 1)]
    for tenant in tenants:
        schema = f"tenant_{tenant}"
        assert db.rows(f"select version from {schema}.log order by 1") == expected
        assert db.rows(f"select version, state from {schema}.mtenant_ledger order by 1") == [
            (version, "applied") for version in range(1, NEWEST + 1)
        ]
    assert db.rows("select version, count(*) from shared.tenant_versions group by 1") == [
        (NEWEST, len(tenants))
    ]
    assert db.value("select count(*) from pg_locks where locktype = 'advisory'") == 0


@pytest.mark.parametrize(
    ("tenants", "kills"),
    [pytest.param(30, 6, id="30"), pytest.param(200, 40, id="200", marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    scratch_database: ScratchDatabase, tenants: int, kills: int
) -> None:
    db, chance = scratch_database, random.Random(tenants)
    names = asyncio.run(prepare(db, tenants))
    killed = 0
    for _ in range(kills):
        killed += run_and_kill(db, chance, signal.SIGKILL) == -signal.SIGKILL
    assert killed
    final = start(db)
    _, errors = final.communicate(timeout=120)
    assert final.returncode == 0, errors.decode()
    check(db, names)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_is_resumed(
    scratch_database: ScratchDatabase, signum: int
) -> None:
    db = scratch_database
    names = asyncio.run(prepare(db, 20))
    with psycopg.connect(db.admin) as holder:
        # A run that waits for a lock is not done before the signal comes.
        holder.execute(f"lock table tenant_{names[-1]}.log".encode())
        assert run_and_kill(db, random.Random(1), signum) == 1
    left = db.value(f"select count(*) from shared.tenant_versions where version < {NEWEST}")
    assert left
    final = start(db)
    final.communicate(timeout=120)
    assert final.returncode == 0
    check(db, names)


@pytest.mark.parametrize(
    "tenants", [pytest.param(20, id="20"), pytest.param(200, id="200", marks=pytest.mark.slow)]
)
def test_two_processes_at_once_come_to_the_same_end(
    scratch_database: ScratchDatabase, tenants: int
) -> None:
    db = scratch_database
    names = asyncio.run(prepare(db, tenants))
    runs = [start(db), start(db)]
    for run in runs:
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors.decode()
    check(db, names)


@pytest.mark.parametrize(
    ("tenants", "kills"),
    [pytest.param(20, 2, id="20"), pytest.param(100, 10, id="100", marks=pytest.mark.slow)],
)
def test_a_server_that_is_killed_in_the_middle_has_lost_nothing_that_it_said(
    tenants: int, kills: int
) -> None:
    from mtenant_database.migrate.testing import ScratchDatabase  # noqa: PLC0415 -- pytest rewrites the plugin first

    chance = random.Random(tenants)
    with Stack(["postgres"], mode="durable") as stack:
        with psycopg.connect(stack.postgres.url, autocommit=True) as conn:
            conn.execute("create role crm_owner login")
            conn.execute("create database crm owner crm_owner")
        admin = make_conninfo(stack.postgres.url, dbname="crm")
        owner = make_conninfo(admin, user="crm_owner")
        db = ScratchDatabase(admin, owner, owner, owner, MigrateSettings(owner="crm_owner"))
        names = asyncio.run(prepare(db, tenants))
        process = start(db)
        assert process.stderr is not None
        said: list[bytes] = []
        for _ in range(kills):
            said += [process.stderr.readline() for _ in range(chance.randint(1, 4))]
            stack.postgres.kill()
            stack.postgres.start()
            for line in said:
                if b" migrated " in line:
                    tenant = line.split()[1].decode()
                    assert (
                        db.value(
                            f"select version from shared.tenant_versions where tenant = '{tenant}'"
                        )
                        == NEWEST
                    )
            if process.poll() is not None:  # the server was away for longer than it tries
                said += process.stderr.readlines()
                process.stderr.close()
                process = start(db)
                assert process.stderr is not None
        process.communicate(timeout=120)
        final = start(db)
        _, errors = final.communicate(timeout=120)
        assert final.returncode == 0, errors.decode()
        check(db, names)
