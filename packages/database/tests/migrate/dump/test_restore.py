from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate import (
    DumpInvalid,
    DumpRefused,
    Fleet,
    MigrateSettings,
    RestoreRefused,
    TenantExists,
    drop,
    dump,
    list_tenants,
    provision,
    restore,
    resume,
    suspend,
)
from mtenant_database.migrate.__main__ import main
from mtenant_devstack import binaries

pytest_plugins = ["mtenant_database.migrate.testing"]
PG_DUMP = str(binaries.postgres().path.with_name("pg_dump"))


def test_a_tenant_comes_back_as_it_was_beside_the_others(db: Any, tmp_path: Path) -> None:
    before = {tenant: db.state(tenant) for tenant in ("acme", "globex")}
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    assert db.rows("select id from shared.tenants") == [("globex",)]

    done = asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert (done.tenant, done.status, done.rows, done.behind) == ("acme", "active", 6, {})
    assert {tenant: db.state(tenant) for tenant in ("acme", "globex")} == before
    with psycopg.connect(db.app, autocommit=True) as conn:  # numbers go on where they were
        added = conn.execute(
            "insert into tenant_acme.people (name) values ('new') returning id, nick"
        ).fetchone()
        assert added == (9, "new")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("delete from tenant_acme.mtenant_ledger")


def test_it_comes_back_into_another_database(db: Any, tmp_path: Path, other: Any) -> None:
    folder = db.dumped(tmp_path / "acme")
    other.populate()
    asyncio.run(provision(other.deploy, "beside", settings=other.settings))

    asyncio.run(restore(other.admin, folder, settings=db.operator))

    assert [t.id for t in asyncio.run(list_tenants(other.deploy, settings=other.settings))] == [
        "acme",
        "beside",
    ]
    for what in ("people", "odd", "organizations", "subdomains", "outbox", "versions"):
        assert other.state("acme")[what] == db.state("acme")[what]


def test_where_the_tenant_is_there_nothing_is_restored(db: Any, tmp_path: Path) -> None:
    folder = db.dumped(tmp_path / "acme")
    before = db.state("acme")

    with pytest.raises(TenantExists, match="tenant acme is active already"):
        asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert db.state("acme") == before
    db.rows("set session_replication_role = replica; delete from shared.tenants where id = 'acme'")
    with pytest.raises(TenantExists, match="the registry does not know it"):
        asyncio.run(restore(db.admin, folder, settings=db.operator))


def test_what_another_tenant_has_taken_meanwhile_is_not_taken_back(db: Any, tmp_path: Path) -> None:
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows("update shared.organizations set subdomain = 'acme' where id = 'globex'")

    with pytest.raises(RestoreRefused, match=r"shared\.organizations has a row of another tenant"):
        asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


def test_what_a_dropped_tenant_left_in_shared_tables_is_replaced(db: Any, tmp_path: Path) -> None:
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    assert db.value("select count(*) from shared.subdomains where tenant = 'acme'") == 1
    db.rows("insert into shared.subdomains values ('acme-2', 'acme')")

    asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert db.rows("select name from shared.subdomains where tenant = 'acme'") == [("acme",)]
    assert db.value("select count(*) from eventing.outbox where tenant = 'acme'") == 3


def test_a_suspended_tenant_comes_back_suspended(db: Any, tmp_path: Path) -> None:
    asyncio.run(suspend(db.deploy, "acme", settings=db.settings))
    before = db.state("acme")
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))

    assert asyncio.run(restore(db.admin, folder, settings=db.operator)).status == "suspended"

    assert db.state("acme") == before
    with psycopg.connect(db.app) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select * from tenant_acme.people")
    asyncio.run(resume(db.deploy, "acme", settings=db.settings))
    with psycopg.connect(db.app) as conn:
        assert conn.execute("select count(*) from tenant_acme.people").fetchone() == (8,)
    asyncio.run(suspend(db.deploy, "globex", settings=db.settings))
    with pytest.raises(DumpRefused, match="connect as a role that has pg_read_all_data"):
        asyncio.run(dump(db.deploy, "globex", tmp_path / "no", settings=db.operator))


def test_rows_that_a_policy_hides_are_an_error_and_not_a_gap(db: Any, tmp_path: Path) -> None:
    with pytest.raises(DumpRefused, match=r"row-level security policy .* BYPASSRLS"):
        asyncio.run(dump(db.deploy, "acme", tmp_path / "acme", settings=db.operator))
    assert [*tmp_path.iterdir()] == []

    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    with pytest.raises(RestoreRefused, match=r"row-level security policy .* BYPASSRLS"):
        asyncio.run(restore(db.deploy, folder, settings=db.operator))
    assert db.rows("select id from shared.tenants") == [("globex",)]


def test_without_shared_rows_the_deploying_role_is_enough(empty: Any, tmp_path: Path) -> None:
    db = empty
    db.register(1)
    asyncio.run(provision(db.deploy, "acme", settings=db.settings))

    asyncio.run(dump(db.deploy, "acme", tmp_path / "acme", settings=db.operator))
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.deploy, tmp_path / "acme", settings=db.operator))

    assert db.rows("select id, status from shared.tenants") == [("acme", "active")]


def test_an_older_dump_says_what_is_behind_and_a_newer_one_is_refused(
    empty: Any, tmp_path: Path
) -> None:
    db = empty.populate(1)
    asyncio.run(provision(db.deploy, "acme", settings=db.settings))
    old = db.dumped(tmp_path / "old")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.register(2)

    assert asyncio.run(restore(db.admin, old, settings=db.operator)).behind == {"contact": (1, 2)}

    async def catch_up() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.up(tenants=["acme"])

    asyncio.run(catch_up())
    new = db.dumped(tmp_path / "new")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows(
        "update shared.components set head = 1; delete from shared.migrations where version = 2"
    )
    with pytest.raises(RestoreRefused, match="contact is at 2 in it, and 1 is the newest"):
        asyncio.run(restore(db.admin, new, settings=db.operator))


@pytest.mark.parametrize(
    "change",
    [
        "alter table shared.subdomains drop column name",
        "drop table shared.subdomains",
        "alter table shared.subdomains add other text not null default 'x';"
        " alter table shared.subdomains alter other drop default",
    ],
)
def test_a_shared_table_that_does_not_fit_leaves_nothing(
    db: Any, tmp_path: Path, change: str
) -> None:
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows(change)

    with pytest.raises(Exception, match=r"subdomains|not-null") as caught:
        asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert type(caught.value).__module__ == "mtenant_database.migrate.errors"
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").write_text("[1]"),
        lambda folder: (folder / "manifest.json").write_text('{"format": 1}'),
        lambda folder: (folder / "manifest.json").write_text('{"format": 2}'),
        lambda folder: (folder / "schema.sql.gz").unlink(),
        lambda folder: (folder / "rows-01.copy.gz").write_bytes(b""),
        lambda folder: os.truncate(folder / "schema.sql.gz", 100),
        lambda folder: _edit(folder, tenant="../globex"),
        lambda folder: _edit(folder, status="dropping"),
        lambda folder: _edit(folder, sha256={"../x": "00"}),
    ],
    ids=range(11),
)
def test_a_damaged_dump_is_refused_before_the_server_is_asked(
    db: Any, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = db.dumped(tmp_path / "acme")
    spoil(folder)
    with pytest.raises(DumpInvalid):
        asyncio.run(restore("postgresql://127.0.0.1:1/none", folder))


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"\\.\n", b""),
        lambda text: b"\\! touch pwned\n" + text,
        lambda text: text + b"select 1/0;\n",
        lambda text: text + b"\xff;\n",
    ],
    ids=range(5),
)
def test_a_script_that_breaks_in_the_middle_leaves_nothing(
    db: Any, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """Also if somebody has made the digests fit."""
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    script = folder / "schema.sql.gz"
    script.write_bytes(gzip.compress(spoil(gzip.decompress(script.read_bytes()))))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["schema.sql.gz"] = hashlib.sha256(script.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(
        Exception, match=r"schema.sql.gz|division by zero|syntax|extra data"
    ) as caught:
        asyncio.run(restore(db.admin, folder, settings=db.operator))

    assert type(caught.value).__module__ == "mtenant_database.migrate.errors"
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


def test_a_dump_of_a_newer_server_is_refused(db: Any, tmp_path: Path) -> None:
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    _edit(folder, server=990001)
    with pytest.raises(RestoreRefused, match="it comes from PostgreSQL 99, and this is 18"):
        asyncio.run(restore(db.admin, folder, settings=db.operator))


def test_killed_in_the_middle_it_leaves_nothing_and_the_second_run_does_it_all(
    db: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setenv("PG_DUMP", PG_DUMP)
    before = db.state("acme")
    folder = db.dumped(tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    lock = psycopg.connect(db.admin)
    lock.execute("lock table shared.subdomains in share row exclusive mode")  # stops it half way
    program = [
        sys.executable,
        "-m",
        "mtenant_database.migrate",
        *db.command("restore", str(folder)),
    ]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    waiting = "select count(*) from pg_locks where not granted and relation = 'shared.subdomains'::regclass"
    until(lambda: db.value(waiting) == 1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    lock.close()
    until(lambda: db.value(waiting) == 0)
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []

    assert main(db.command("restore", str(folder))) == 0
    assert db.state("acme") == before


def test_a_dump_of_an_older_server_goes_into_it_and_into_a_newer_one(
    empty: Any, older_postgres_dsn: str, postgres_dsn: str, tmp_path: Path
) -> None:
    name = f"elder_{os.getpid()}"
    settings = MigrateSettings(owner=f"{name}_owner", app=f"{name}_app", pg_dump=PG_DUMP)

    def make(server: str) -> Any:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"create role {name}_owner".encode())
            conn.execute(f"create role {name}_app".encode())
            conn.execute(f"create database {name} owner {name}_owner".encode())
        url = make_conninfo(server, dbname=name)
        there = replace(empty, admin=url, owner=url, app=url, deploy=url, settings=settings)
        return there.populate()

    older, newer = make(older_postgres_dsn), make(postgres_dsn)
    try:
        asyncio.run(provision(older.deploy, "acme", settings=settings))
        older.fill("acme")
        before = older.state("acme")
        folder = older.dumped(tmp_path / "acme")
        asyncio.run(drop(older.deploy, "acme", settings=settings))

        asyncio.run(restore(older.admin, folder, settings=settings))
        asyncio.run(restore(newer.admin, folder, settings=settings))

        assert older.state("acme") == before
        for what in ("people", "odd", "organizations", "outbox", "versions"):
            assert newer.state("acme")[what] == before[what]
        back = newer.dumped(tmp_path / "back")
        asyncio.run(drop(older.deploy, "acme", settings=settings))
        with pytest.raises(RestoreRefused, match="it comes from PostgreSQL 18"):
            asyncio.run(restore(older.admin, back, settings=settings))
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as conn:
            conn.execute(f"drop database {name} with (force)".encode())
            conn.execute(f"drop role {name}_owner, {name}_app".encode())


def test_an_attempt_after_a_lost_connection_begins_anew(db: Any, tmp_path: Path) -> None:
    """The server ends the connection that shows the snapshot, while pg_dump still reads."""
    ended = 0

    def on_bytes(count: int) -> None:
        nonlocal ended
        if not ended:
            ended = len(
                db.rows(
                    # pg_dump's own session has this name and a snapshot, too, and began later.
                    "select pg_terminate_backend(pid) from (select pid from pg_stat_activity"
                    " where application_name = 'mtenant-db' and datname = current_database()"
                    " and backend_xmin is not null order by backend_start limit 1) as first"
                )
            )

    folder = tmp_path / "acme"
    asyncio.run(dump(db.admin, "acme", folder, settings=db.operator, on_bytes=on_bytes))

    assert ended
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.admin, folder, settings=db.operator))
    assert [*tmp_path.iterdir()] == [folder]
