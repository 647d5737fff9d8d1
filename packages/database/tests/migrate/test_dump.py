from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtenant_database.migrate import (
    DumpFailed,
    DumpInvalid,
    DumpRefused,
    Fleet,
    History,
    MigrateSettings,
    Migration,
    RestoreRefused,
    SchemaBusy,
    TenantExists,
    UnknownTenant,
    drop,
    dump,
    list_tenants,
    provision,
    restore,
    resume,
    suspend,
)
from mtenant_database.migrate.__main__ import main
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_devstack import binaries

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

PG_DUMP = str(binaries.postgres().path.with_name("pg_dump"))

PEOPLE = Migration.of(
    "contact",
    1,
    "people",
    """
create table people (
    id bigint generated always as identity primary key,
    name text not null,
    nick text generated always as (lower(name)) stored,
    note bytea
);
create unique index one_name on people (name);
create table "odd ""name""
; COPY x FROM stdin;" (id serial primary key, person bigint references people, said text);
create function greet(who text) returns text language sql stable
begin atomic
    select 'hello; ' || who;
end;
create function noted() returns trigger language plpgsql as $body$
begin
    insert into people (name) values ('by the trigger; of ' || new.id);
    return new;
end $body$;
create trigger noted after insert on "odd ""name""
; COPY x FROM stdin;" for each row execute function noted();
create table visits (person bigint not null, at date not null) partition by range (at);
create table visits_2026 partition of visits for values from ('2026-01-01') to ('2027-01-01');
create materialized view counted as select count(*) from people;
create view loud as select upper(name) as name from people;
revoke delete on people from public;
""",
    "select 1",
)
EMAIL = Migration.of("contact", 2, "email", "alter table people add email text", "select 1")

SHARED = """
create table shared.organizations (id text primary key references shared.tenants on delete cascade,
    name text not null, subdomain text not null unique);
create table shared.invitations (id uuid primary key, tenant text not null references shared.tenants
    on delete cascade, organization text references shared.organizations);
create table shared.subdomains (name text primary key, tenant text not null);
create table shared.keys (kid text primary key);
create schema eventing;
create table eventing.outbox (id bigint generated always as identity, tenant text not null,
    body bytea not null, primary key (tenant, id));
"""
GUARDED = ("shared.organizations", "shared.invitations", "shared.subdomains", "eventing.outbox")


@pytest.fixture
def db(scratch_database: ScratchDatabase) -> ScratchDatabase:
    """A database with two tenants, and shared tables that force row security."""
    return populate(scratch_database)


def populate(db: ScratchDatabase, files: History | None = None) -> ScratchDatabase:
    register(db, files or History([PEOPLE, EMAIL]))
    db.rows(f"set role {db.settings.owner}; {SHARED}")
    for table in GUARDED:
        db.rows(f"alter table {table} enable row level security, force row level security")
    if files is None:
        for tenant in ("acme", "globex"):
            asyncio.run(provision(db.deploy, tenant, settings=db.settings))
            fill(db, tenant)
    return db


def register(db: ScratchDatabase, files: History) -> None:
    async def run() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(files)

    asyncio.run(run())


def fill(db: ScratchDatabase, tenant: str) -> None:
    schema = f"tenant_{tenant}"
    rows = ["Ada", "back\\slash", "tab\there", "line\nbreak", "\\.", "ä;'\"", ""]
    with psycopg.connect(db.admin, autocommit=True) as conn:
        conn.execute(f"set search_path to {schema}".encode())  # for the trigger
        for row in rows:
            conn.execute(
                f"insert into {schema}.people (name, note) values (%s, %s)".encode(),
                [row, b"\0\xff\\."],
            )
        odd = '"odd ""name""\n; COPY x FROM stdin;"'
        conn.execute(f"insert into {schema}.{odd} (person, said) values (1, %s)".encode(), ["\\."])
        conn.execute(f"insert into {schema}.visits values (1, '2026-05-01')".encode())
        conn.execute(f"refresh materialized view {schema}.counted".encode())
        conn.execute(
            "insert into shared.organizations values (%s, %s, %s)", [tenant, tenant, tenant]
        )
        conn.execute(
            "insert into shared.invitations values (gen_random_uuid(), %s, %s)", [tenant, tenant]
        )
        conn.execute("insert into shared.subdomains values (%s, %s)", [tenant, tenant])
        for body in (b"first", b"\\.\n", b"third"):
            conn.execute(
                "insert into eventing.outbox (tenant, body) values (%s, %s)", [tenant, body]
            )


def operator(db: ScratchDatabase) -> MigrateSettings:
    return MigrateSettings(owner=db.settings.owner, app=db.settings.app, pg_dump=PG_DUMP)


def dumped(db: ScratchDatabase, folder: Path, tenant: str = "acme") -> Path:
    asyncio.run(dump(db.admin, tenant, folder, settings=operator(db)))
    return folder


def state(db: ScratchDatabase, tenant: str) -> dict[str, Any]:
    """Everything of a tenant that anybody could look at."""
    schema = f"tenant_{tenant}"
    odd = '"odd ""name""\n; COPY x FROM stdin;"'
    return {
        "people": db.rows(f"select * from {schema}.people order by id"),
        "odd": db.rows(f"select * from {schema}.{odd}"),
        "visits": db.rows(f"select tableoid::regclass::text, * from {schema}.visits"),
        "counted": db.rows(f"select * from {schema}.counted"),
        "ledger": db.rows(f"select component, version, checksum from {schema}.mtenant_ledger"),
        "versions": db.rows(f"select * from shared.tenant_versions where tenant = '{tenant}'"),
        "registry": db.rows(
            f"select id, status, grantees, created_at from shared.tenants where id = '{tenant}'"
        ),
        "organizations": db.rows(f"select * from shared.organizations where id = '{tenant}'"),
        "invitations": db.rows(f"select * from shared.invitations where tenant = '{tenant}'"),
        "subdomains": db.rows(f"select * from shared.subdomains where tenant = '{tenant}'"),
        "outbox": db.rows(
            f"select body from eventing.outbox where tenant = '{tenant}' order by id"
        ),
        "objects": db.rows(
            "select c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relacl::text,"
            " pg_get_indexdef(c.oid) is not null from pg_class c"
            f" where relnamespace = '{schema}'::regnamespace order by 1"
        ),
        "functions": db.rows(
            "select proname, prosrc, pg_get_functiondef(oid) from pg_proc"
            f" where pronamespace = '{schema}'::regnamespace order by 1"
        ),
        "grants": db.rows(
            "select n.nspacl::text, d.defaclacl::text from pg_namespace n"
            f" left join pg_default_acl d on d.defaclnamespace = n.oid where nspname = '{schema}'"
            " order by 2"
        ),
    }


def test_a_tenant_comes_back_as_it_was_beside_the_others(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    before = {tenant: state(db, tenant) for tenant in ("acme", "globex")}
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    assert db.rows("select id from shared.tenants") == [("globex",)]

    done = asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert (done.tenant, done.status, done.rows, done.behind) == ("acme", "active", 6, {})
    assert {tenant: state(db, tenant) for tenant in ("acme", "globex")} == before
    with psycopg.connect(db.app, autocommit=True) as conn:  # numbers go on where they were
        added = conn.execute(
            "insert into tenant_acme.people (name) values ('new') returning id, nick"
        ).fetchone()
        assert added == (9, "new")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("delete from tenant_acme.mtenant_ledger")


def test_it_comes_back_into_another_database(
    db: ScratchDatabase, tmp_path: Path, other: ScratchDatabase
) -> None:
    folder = dumped(db, tmp_path / "acme")
    populate(other, History([PEOPLE, EMAIL]))
    asyncio.run(provision(other.deploy, "beside", settings=other.settings))

    asyncio.run(restore(other.admin, folder, settings=operator(db)))

    assert [t.id for t in asyncio.run(list_tenants(other.deploy, settings=other.settings))] == [
        "acme",
        "beside",
    ]
    for what in ("people", "odd", "organizations", "subdomains", "outbox", "versions"):
        assert state(other, "acme")[what] == state(db, "acme")[what]


@pytest.fixture
def other(db: ScratchDatabase) -> Iterator[ScratchDatabase]:
    """Another database of the same server, for the same roles."""
    name = f"{db.settings.owner}_else"
    with psycopg.connect(db.admin, autocommit=True) as conn:
        conn.execute(f"create database {name} owner {db.settings.owner}".encode())
    yield replace(
        db,
        admin=make_conninfo(db.admin, dbname=name),
        owner=make_conninfo(db.owner, dbname=name),
        app=make_conninfo(db.app, dbname=name),
        deploy=make_conninfo(db.deploy, dbname=name),
    )
    with psycopg.connect(db.admin, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)".encode())


def test_where_the_tenant_is_there_nothing_is_restored(db: ScratchDatabase, tmp_path: Path) -> None:
    folder = dumped(db, tmp_path / "acme")
    before = state(db, "acme")

    with pytest.raises(TenantExists, match="tenant acme is active already"):
        asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert state(db, "acme") == before
    db.rows("set session_replication_role = replica; delete from shared.tenants where id = 'acme'")
    with pytest.raises(TenantExists, match="the registry does not know it"):
        asyncio.run(restore(db.admin, folder, settings=operator(db)))


def test_what_another_tenant_has_taken_meanwhile_is_not_taken_back(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows("update shared.organizations set subdomain = 'acme' where id = 'globex'")

    with pytest.raises(RestoreRefused, match=r"shared\.organizations has a row of another tenant"):
        asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


def test_what_a_dropped_tenant_left_in_shared_tables_is_replaced(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    assert db.value("select count(*) from shared.subdomains where tenant = 'acme'") == 1
    db.rows("insert into shared.subdomains values ('acme-2', 'acme')")

    asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert db.rows("select name from shared.subdomains where tenant = 'acme'") == [("acme",)]
    assert db.value("select count(*) from eventing.outbox where tenant = 'acme'") == 3


def test_a_suspended_tenant_comes_back_suspended(db: ScratchDatabase, tmp_path: Path) -> None:
    asyncio.run(suspend(db.deploy, "acme", settings=db.settings))
    before = state(db, "acme")
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))

    assert asyncio.run(restore(db.admin, folder, settings=operator(db))).status == "suspended"

    assert state(db, "acme") == before
    with psycopg.connect(db.app) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select * from tenant_acme.people")
    asyncio.run(resume(db.deploy, "acme", settings=db.settings))
    with psycopg.connect(db.app) as conn:
        assert conn.execute("select count(*) from tenant_acme.people").fetchone() == (8,)
    asyncio.run(suspend(db.deploy, "globex", settings=db.settings))
    with pytest.raises(DumpRefused, match="connect as a role that has pg_read_all_data"):
        asyncio.run(dump(db.deploy, "globex", tmp_path / "no", settings=operator(db)))


def test_rows_that_a_policy_hides_are_an_error_and_not_a_gap(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    with pytest.raises(DumpRefused, match=r"row-level security policy .* BYPASSRLS"):
        asyncio.run(dump(db.deploy, "acme", tmp_path / "acme", settings=operator(db)))
    assert [*tmp_path.iterdir()] == []

    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    with pytest.raises(RestoreRefused, match=r"row-level security policy .* BYPASSRLS"):
        asyncio.run(restore(db.deploy, folder, settings=operator(db)))
    assert db.rows("select id from shared.tenants") == [("globex",)]


def test_without_shared_rows_the_deploying_role_is_enough(
    scratch_database: ScratchDatabase, tmp_path: Path
) -> None:
    db = scratch_database
    register(db, History([PEOPLE]))
    asyncio.run(provision(db.deploy, "acme", settings=db.settings))

    asyncio.run(dump(db.deploy, "acme", tmp_path / "acme", settings=operator(db)))
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.deploy, tmp_path / "acme", settings=operator(db)))

    assert db.rows("select id, status from shared.tenants") == [("acme", "active")]


def test_an_older_dump_says_what_is_behind_and_a_newer_one_is_refused(
    scratch_database: ScratchDatabase, tmp_path: Path
) -> None:
    db = populate(scratch_database, History([PEOPLE]))
    asyncio.run(provision(db.deploy, "acme", settings=db.settings))
    old = dumped(db, tmp_path / "old")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    register(db, History([PEOPLE, EMAIL]))

    assert asyncio.run(restore(db.admin, old, settings=operator(db))).behind == {"contact": (1, 2)}

    async def catch_up() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.up(tenants=["acme"])

    asyncio.run(catch_up())
    new = dumped(db, tmp_path / "new")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows(
        "update shared.components set head = 1; delete from shared.migrations where version = 2"
    )
    with pytest.raises(RestoreRefused, match="contact is at 2 in it, and 1 is the newest"):
        asyncio.run(restore(db.admin, new, settings=operator(db)))


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
    db: ScratchDatabase, tmp_path: Path, change: str
) -> None:
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    db.rows(change)

    with pytest.raises(Exception, match=r"subdomains|not-null") as caught:
        asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert type(caught.value).__module__ == "mtenant_database.migrate.errors"
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


def test_shared_tables_whose_rows_are_nobodys_are_told_before_it_is_too_late(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    db.rows("create table shared.answers (invitation uuid references shared.invitations)")
    with pytest.raises(DumpRefused, match=r"shared\.answers .* no column that says whose"):
        dumped(db, tmp_path / "acme")
    db.rows("drop table shared.answers; create table shared.answers (tenant uuid)")
    with pytest.raises(DumpRefused, match=r"shared\.answers\.tenant is no text"):
        dumped(db, tmp_path / "acme")
    assert [*tmp_path.iterdir()] == []


def test_a_dump_shows_one_moment(db: ScratchDatabase, tmp_path: Path) -> None:
    """A row that is committed while pg_dump runs is in neither of the two halves."""
    added = False

    def on_bytes(count: int) -> None:
        nonlocal added
        if not added:
            added = True
            db.rows("insert into shared.subdomains values ('late', 'acme')")
            db.rows("insert into tenant_acme.people (name) values ('late')")

    asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=operator(db), on_bytes=on_bytes))

    assert added
    assert b"late" not in b"".join(
        gzip.decompress(file.read_bytes()) for file in (tmp_path / "acme").glob("*.gz")
    )


def test_a_migration_of_the_tenant_waits_until_its_dump_is_over(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    impatient = replace(db.settings, lock_wait=timedelta(milliseconds=200))
    seen: list[BaseException] = []

    def on_bytes(count: int) -> None:
        if not seen:
            attempt = suspend(db.deploy, "acme", settings=impatient)
            with ThreadPoolExecutor() as pool, pytest.raises(SchemaBusy) as caught:
                pool.submit(asyncio.run, attempt).result()
            seen.append(caught.value)

    folder = tmp_path / "acme"
    asyncio.run(dump(db.admin, "acme", folder, settings=operator(db), on_bytes=on_bytes))
    assert seen


def test_a_dump_is_for_its_owner_only_and_says_what_it_holds(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    folder = dumped(db, tmp_path / "acme")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"] == {"contact": 2}
    counts = {rows["table"]: rows["count"] for rows in manifest["rows"]}
    assert counts == {"outbox": 3, "subdomains": 1, "organizations": 1, "invitations": 1}
    order = [*counts]
    assert order.index("organizations") < order.index("invitations")


def test_the_password_is_on_no_command_line(db: ScratchDatabase, tmp_path: Path) -> None:
    """A pg_dump that writes down how it was called."""
    seen = tmp_path / "seen"
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$PGPASSWORD" >{seen}\nexec {PG_DUMP} "$@"\n')
    spy.chmod(0o755)
    secret = "hunter2 'quoted\\ and spaced"
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=str(spy))
    conninfo = make_conninfo(db.admin, password=secret)

    asyncio.run(dump(conninfo, "acme", tmp_path / "acme", settings=settings))

    arguments = seen.read_text().splitlines()
    assert arguments[-1] == secret
    assert not any("hunter2" in argument for argument in arguments[:-1])
    with pytest.raises(DumpFailed, match="sslpassword out of sight"):
        asyncio.run(dump(f"{conninfo} sslpassword=x", "acme", tmp_path / "two", settings=settings))


@pytest.mark.parametrize("tenant", ["", "Acme", "a-b", "../x", 'a"b', "*", "a" * 57])
def test_what_is_no_tenant_id_reaches_neither_server_nor_disk(tenant: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidTenantId):
        asyncio.run(dump("postgresql://127.0.0.1:1/none", tenant, tmp_path / "x"))
    assert [*tmp_path.iterdir()] == []


def test_a_tenant_whose_name_is_a_pattern_is_the_only_one_dumped(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    for tenant in ("a_b", "axb"):
        asyncio.run(provision(db.deploy, tenant, settings=db.settings))
    folder = dumped(db, tmp_path / "dump", "a_b")
    text = gzip.decompress((folder / "schema.sql.gz").read_bytes())
    assert b"tenant_a_b" in text
    assert b"tenant_axb" not in text
    asyncio.run(drop(db.deploy, "a_b", settings=db.settings))
    asyncio.run(restore(db.admin, folder, settings=operator(db)))


def test_who_cannot_be_dumped_is_told(db: ScratchDatabase, tmp_path: Path) -> None:
    with pytest.raises(UnknownTenant, match="no tenant nobody that is active or suspended"):
        dumped(db, tmp_path / "x", "nobody")
    (tmp_path / "taken").mkdir()
    with pytest.raises(DumpRefused, match="it is there already"):
        dumped(db, tmp_path / "taken")
    with pytest.raises(DumpFailed, match="No such file or directory"):
        dumped(db, tmp_path / "no" / "where")
    settings = MigrateSettings(owner=db.settings.owner, pg_dump="no-such-program")
    with pytest.raises(DumpFailed, match="there is no program no-such-program"):
        asyncio.run(dump(db.admin, "acme", tmp_path / "x", settings=settings))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def program(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'pg_dump: error: it is broken' >&2; exit 1", "status 1: it is broken"),
        ("echo half; kill -9 $$", "was ended by SIGKILL"),
        (
            "echo 'pg_dump: error: aborting because of server version mismatch' >&2;"
            " echo 'pg_dump: detail: server version: 18' >&2; exit 1",
            "name a pg_dump of the server's version by PG_DUMP",
        ),
    ],
)
def test_a_pg_dump_that_fails_leaves_nothing(
    db: ScratchDatabase, tmp_path: Path, body: str, said: str
) -> None:
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=program(tmp_path, body))
    with pytest.raises(DumpFailed, match=said):
        asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=settings))
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_a_full_disk_leaves_nothing(
    db: ScratchDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the limit of a file's size, which fails a write as a full disk does."""
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, was[1]))
        with pytest.raises(DumpFailed, match="File too large"):
            dumped(db, tmp_path / "acme")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [*tmp_path.iterdir()] == []


def test_a_cancelled_dump_ends_its_program_and_leaves_nothing(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    stuck = program(tmp_path, f"echo $$ >{pid}.new; mv {pid}.new {pid}; echo --; exec sleep 600")
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=stuck)

    async def run() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(
            dump(
                db.admin,
                "acme",
                tmp_path / "acme",
                settings=settings,
                on_bytes=lambda count: begun.set(),
            )
        )
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pid", "program"]
    dumped(db, tmp_path / "acme")  # the lock is free


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
    db: ScratchDatabase, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = dumped(db, tmp_path / "acme")
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
    db: ScratchDatabase, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """Also if somebody has made the digests fit."""
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    script = folder / "schema.sql.gz"
    script.write_bytes(gzip.compress(spoil(gzip.decompress(script.read_bytes()))))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["schema.sql.gz"] = hashlib.sha256(script.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(
        Exception, match=r"schema.sql.gz|division by zero|syntax|extra data"
    ) as caught:
        asyncio.run(restore(db.admin, folder, settings=operator(db)))

    assert type(caught.value).__module__ == "mtenant_database.migrate.errors"
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []


def test_a_dump_of_a_newer_server_is_refused(db: ScratchDatabase, tmp_path: Path) -> None:
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    _edit(folder, server=990001)
    with pytest.raises(RestoreRefused, match="it comes from PostgreSQL 99, and this is 18"):
        asyncio.run(restore(db.admin, folder, settings=operator(db)))


def command(db: ScratchDatabase, *words: str) -> list[str]:
    return ["tenants", *words, "--dsn", db.admin, "--owner", str(db.settings.owner)]


def test_killed_in_the_middle_it_leaves_nothing_and_the_second_run_does_it_all(
    db: ScratchDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_DUMP", PG_DUMP)
    before = state(db, "acme")
    folder = dumped(db, tmp_path / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    lock = psycopg.connect(db.admin)
    lock.execute("lock table shared.subdomains in share row exclusive mode")  # stops it half way
    program = [
        sys.executable,
        "-m",
        "mtenant_database.migrate",
        *command(db, "restore", str(folder)),
    ]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    waiting = "select count(*) from pg_locks where not granted and relation = 'shared.subdomains'::regclass"
    _until(lambda: db.value(waiting) == 1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    lock.close()
    _until(lambda: db.value(waiting) == 0)
    assert db.rows("select id from shared.tenants") == [("globex",)]
    assert db.rows("select 1 from pg_namespace where nspname = 'tenant_acme'") == []

    assert main(command(db, "restore", str(folder))) == 0
    assert state(db, "acme") == before


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_dump_that_is_ended_ends_pg_dump_and_the_next_is_whole(
    db: ScratchDatabase, tmp_path: Path, how: signal.Signals
) -> None:
    pid, folder = tmp_path / "pid", tmp_path / "dumps"
    folder.mkdir()
    endless = program(tmp_path, f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec yes --")
    words = command(db, "dump", "acme", str(folder / "acme"))
    process = subprocess.Popen(
        [sys.executable, "-m", "mtenant_database.migrate", *words],
        env={**os.environ, "PG_DUMP": endless},
        stderr=subprocess.DEVNULL,
    )
    _until(pid.exists)
    process.send_signal(how)
    assert process.wait(30) == (-signal.SIGKILL if how is signal.SIGKILL else 1)
    _until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    left = [path.name for path in folder.iterdir()]
    assert "acme" not in left
    assert left == [] or how is signal.SIGKILL

    dumped(db, folder / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.admin, folder / "acme", settings=operator(db)))


def test_pg_dump_asks_the_server_that_has_the_snapshot(db: ScratchDatabase, tmp_path: Path) -> None:
    port = conninfo_to_dict(db.admin)["port"]
    several = make_conninfo(
        db.admin, host="127.0.0.1,127.0.0.1", port=f"1,{port}", target_session_attrs="read-write"
    )
    asyncio.run(dump(several, "acme", tmp_path / "acme", settings=operator(db)))
    assert (tmp_path / "acme" / "manifest.json").exists()


def test_the_command_says_what_it_did(
    db: ScratchDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PG_DUMP", PG_DUMP)
    folder = str(tmp_path / "acme")
    assert main(command(db, "dump", "acme", folder)) == 0
    assert f"6 rows of shared tables, in {folder}" in capsys.readouterr().out
    assert main(command(db, "dump", "acme", folder)) == 1
    assert "DUMP_REFUSED" in capsys.readouterr().err
    assert main([*command(db, "drop", "acme"), "--yes"]) == 0
    assert main(command(db, "restore", folder)) == 0
    assert "acme: active, 6 rows of shared tables" in capsys.readouterr().out
    assert main(command(db, "restore", folder)) == 1
    assert "TENANT_EXISTS" in capsys.readouterr().err


def test_an_older_pg_dump_is_told_from_a_broken_one(db: ScratchDatabase, tmp_path: Path) -> None:
    older = shutil.which("pg_dump")
    if (
        older is None
        or b" 18" in subprocess.run([older, "-V"], capture_output=True, check=True).stdout
    ):
        pytest.skip("there is no pg_dump below 18 on PATH")
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=older)
    with pytest.raises(DumpFailed, match=r"server version mismatch .* by PG_DUMP"):
        asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=settings))


def test_a_dump_of_an_older_server_goes_into_it_and_into_a_newer_one(
    scratch_database: ScratchDatabase, older_postgres_dsn: str, postgres_dsn: str, tmp_path: Path
) -> None:
    name = f"elder_{os.getpid()}"
    settings = MigrateSettings(owner=f"{name}_owner", app=f"{name}_app", pg_dump=PG_DUMP)

    def make(server: str) -> ScratchDatabase:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"create role {name}_owner".encode())
            conn.execute(f"create role {name}_app".encode())
            conn.execute(f"create database {name} owner {name}_owner".encode())
        url = make_conninfo(server, dbname=name)
        there = replace(
            scratch_database, admin=url, owner=url, app=url, deploy=url, settings=settings
        )
        return populate(there, History([PEOPLE, EMAIL]))

    older, newer = make(older_postgres_dsn), make(postgres_dsn)
    try:
        asyncio.run(provision(older.deploy, "acme", settings=settings))
        fill(older, "acme")
        before = state(older, "acme")
        folder = dumped(older, tmp_path / "acme")
        asyncio.run(drop(older.deploy, "acme", settings=settings))

        asyncio.run(restore(older.admin, folder, settings=settings))
        asyncio.run(restore(newer.admin, folder, settings=settings))

        assert state(older, "acme") == before
        for what in ("people", "odd", "organizations", "outbox", "versions"):
            assert state(newer, "acme")[what] == before[what]
        back = dumped(newer, tmp_path / "back")
        asyncio.run(drop(older.deploy, "acme", settings=settings))
        with pytest.raises(RestoreRefused, match="it comes from PostgreSQL 18"):
            asyncio.run(restore(older.admin, back, settings=settings))
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as conn:
            conn.execute(f"drop database {name} with (force)".encode())
            conn.execute(f"drop role {name}_owner, {name}_app".encode())


def test_an_attempt_after_a_lost_connection_begins_anew(
    db: ScratchDatabase, tmp_path: Path
) -> None:
    """The server ends the connection that shows the snapshot, while pg_dump still reads."""
    ended = 0

    def on_bytes(count: int) -> None:
        nonlocal ended
        if not ended:
            ended = len(
                db.rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'mtenant-db' and datname = current_database()"
                    " and backend_xmin is not null"
                )
            )

    folder = tmp_path / "acme"
    asyncio.run(dump(db.admin, "acme", folder, settings=operator(db), on_bytes=on_bytes))

    assert ended
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.admin, folder, settings=operator(db)))
    assert [*tmp_path.iterdir()] == [folder]
