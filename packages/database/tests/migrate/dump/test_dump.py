from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtenant_database.migrate import (
    DumpFailed,
    DumpRefused,
    MigrateSettings,
    SchemaBusy,
    UnknownTenant,
    drop,
    dump,
    provision,
    restore,
    suspend,
)
from mtenant_database.migrate.__main__ import main
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_devstack import binaries

pytest_plugins = ["mtenant_database.migrate.testing"]
PG_DUMP = str(binaries.postgres().path.with_name("pg_dump"))


def test_shared_tables_whose_rows_are_nobodys_are_told_before_it_is_too_late(
    db: Any, tmp_path: Path
) -> None:
    db.rows("create table shared.answers (invitation uuid references shared.invitations)")
    with pytest.raises(DumpRefused, match=r"shared\.answers .* no column that says whose"):
        db.dumped(tmp_path / "acme")
    db.rows("drop table shared.answers; create table shared.answers (tenant uuid)")
    with pytest.raises(DumpRefused, match=r"shared\.answers\.tenant is no text"):
        db.dumped(tmp_path / "acme")
    assert [*tmp_path.iterdir()] == []


def test_a_dump_shows_one_moment(db: Any, tmp_path: Path) -> None:
    """A row that is committed while pg_dump runs is in neither of the two halves."""
    added = False

    def on_bytes(count: int) -> None:
        nonlocal added
        if not added:
            added = True
            db.rows("insert into shared.subdomains values ('late', 'acme')")
            db.rows("insert into tenant_acme.people (name) values ('late')")

    asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=db.operator, on_bytes=on_bytes))

    assert added
    assert b"late" not in b"".join(
        gzip.decompress(file.read_bytes()) for file in (tmp_path / "acme").glob("*.gz")
    )


def test_a_migration_of_the_tenant_waits_until_its_dump_is_over(db: Any, tmp_path: Path) -> None:
    impatient = replace(db.settings, lock_wait=timedelta(milliseconds=200))
    seen: list[BaseException] = []

    def on_bytes(count: int) -> None:
        if not seen:
            attempt = suspend(db.deploy, "acme", settings=impatient)
            with ThreadPoolExecutor() as pool, pytest.raises(SchemaBusy) as caught:
                pool.submit(asyncio.run, attempt).result()
            seen.append(caught.value)

    folder = tmp_path / "acme"
    asyncio.run(dump(db.admin, "acme", folder, settings=db.operator, on_bytes=on_bytes))
    assert seen


def test_a_dump_is_for_its_owner_only_and_says_what_it_holds(db: Any, tmp_path: Path) -> None:
    folder = db.dumped(tmp_path / "acme")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"] == {"contact": 2}
    counts = {rows["table"]: rows["count"] for rows in manifest["rows"]}
    assert counts == {"outbox": 3, "subdomains": 1, "organizations": 1, "invitations": 1}
    order = [*counts]
    assert order.index("organizations") < order.index("invitations")


def test_the_password_is_on_no_command_line(db: Any, tmp_path: Path) -> None:
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


def test_a_tenant_whose_name_is_a_pattern_is_the_only_one_dumped(db: Any, tmp_path: Path) -> None:
    for tenant in ("a_b", "axb"):
        asyncio.run(provision(db.deploy, tenant, settings=db.settings))
    folder = db.dumped(tmp_path / "dump", "a_b")
    text = gzip.decompress((folder / "schema.sql.gz").read_bytes())
    assert b"tenant_a_b" in text
    assert b"tenant_axb" not in text
    asyncio.run(drop(db.deploy, "a_b", settings=db.settings))
    asyncio.run(restore(db.admin, folder, settings=db.operator))


def test_who_cannot_be_dumped_is_told(db: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownTenant, match="no tenant nobody that is active or suspended"):
        db.dumped(tmp_path / "x", "nobody")
    (tmp_path / "taken").mkdir()
    with pytest.raises(DumpRefused, match="it is there already"):
        db.dumped(tmp_path / "taken")
    with pytest.raises(DumpFailed, match="No such file or directory"):
        db.dumped(tmp_path / "no" / "where")
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
def test_a_pg_dump_that_fails_leaves_nothing(db: Any, tmp_path: Path, body: str, said: str) -> None:
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=program(tmp_path, body))
    with pytest.raises(DumpFailed, match=said):
        asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=settings))
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_a_full_disk_leaves_nothing(
    db: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the limit of a file's size, which fails a write as a full disk does."""
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, was[1]))
        with pytest.raises(DumpFailed, match="File too large"):
            db.dumped(tmp_path / "acme")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [*tmp_path.iterdir()] == []


def test_a_cancelled_dump_ends_its_program_and_leaves_nothing(db: Any, tmp_path: Path) -> None:
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
    db.dumped(tmp_path / "acme")  # the lock is free


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_dump_that_is_ended_ends_pg_dump_and_the_next_is_whole(
    db: Any, tmp_path: Path, how: signal.Signals, until: Any
) -> None:
    pid, folder = tmp_path / "pid", tmp_path / "dumps"
    folder.mkdir()
    endless = program(tmp_path, f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec yes --")
    words = db.command("dump", "acme", str(folder / "acme"))
    process = subprocess.Popen(
        [sys.executable, "-m", "mtenant_database.migrate", *words],
        env={**os.environ, "PG_DUMP": endless},
        stderr=subprocess.DEVNULL,
    )
    until(pid.exists)
    process.send_signal(how)
    assert process.wait(30) == (-signal.SIGKILL if how is signal.SIGKILL else 1)
    until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    left = [path.name for path in folder.iterdir()]
    assert "acme" not in left
    assert left == [] or how is signal.SIGKILL

    db.dumped(folder / "acme")
    asyncio.run(drop(db.deploy, "acme", settings=db.settings))
    asyncio.run(restore(db.admin, folder / "acme", settings=db.operator))


def test_pg_dump_asks_the_server_that_has_the_snapshot(db: Any, tmp_path: Path) -> None:
    port = conninfo_to_dict(db.admin)["port"]
    several = make_conninfo(
        db.admin, host="127.0.0.1,127.0.0.1", port=f"1,{port}", target_session_attrs="read-write"
    )
    asyncio.run(dump(several, "acme", tmp_path / "acme", settings=db.operator))
    assert (tmp_path / "acme" / "manifest.json").exists()


def test_the_command_says_what_it_did(
    db: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PG_DUMP", PG_DUMP)
    folder = str(tmp_path / "acme")
    assert main(db.command("dump", "acme", folder)) == 0
    assert f"6 rows of shared tables, in {folder}" in capsys.readouterr().out
    assert main(db.command("dump", "acme", folder)) == 1
    assert "DUMP_REFUSED" in capsys.readouterr().err
    assert main([*db.command("drop", "acme"), "--yes"]) == 0
    assert main(db.command("restore", folder)) == 0
    assert "acme: active, 6 rows of shared tables" in capsys.readouterr().out
    assert main(db.command("restore", folder)) == 1
    assert "TENANT_EXISTS" in capsys.readouterr().err


def test_an_older_pg_dump_is_told_from_a_broken_one(db: Any, tmp_path: Path) -> None:
    older = shutil.which("pg_dump")
    if (
        older is None
        or b" 18" in subprocess.run([older, "-V"], capture_output=True, check=True).stdout
    ):
        pytest.skip("there is no pg_dump below 18 on PATH")
    settings = MigrateSettings(owner=db.settings.owner, pg_dump=older)
    with pytest.raises(DumpFailed, match=r"server version mismatch .* by PG_DUMP"):
        asyncio.run(dump(db.admin, "acme", tmp_path / "acme", settings=settings))
