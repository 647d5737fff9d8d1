"""The same promises on an older server, where the machine has one, and behind PgBouncer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mtenant_database.database import Database
from mtenant_database.errors import (
    InvalidReference,
    QueryTimeout,
    StatementFault,
    TenantNotFound,
    TenantSuspended,
    TransactionTimeout,
)

pytestmark = pytest.mark.anyio

OLD = Path("/usr/lib/postgresql/15/bin")
NOBODY = 65534  # the account that every Linux has; it has a name, which initdb asks for


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _as_ordinary(*argv: Any) -> list[str]:
    # Neither PostgreSQL nor PgBouncer runs as root.
    switch = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*(switch if os.geteuid() == 0 else []), *map(str, argv)]


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def old_server() -> Iterator[str]:
    if not (OLD / "postgres").exists():
        pytest.skip("this machine has no PostgreSQL 15")
    home = Path(tempfile.mkdtemp(prefix="mtenant-pg15-"))
    if os.geteuid() == 0:
        shutil.chown(home, NOBODY, NOBODY)
    port = _port()
    subprocess.run(
        _as_ordinary(
            OLD / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "--no-sync"
        ),
        check=True,
        capture_output=True,
        cwd=home,
        timeout=60,
    )
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
    process = subprocess.Popen(
        _as_ordinary(OLD / "postgres", "-D", home / "data", "-p", port, "-k", home, *options),
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _until_it_answers(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # "fast shutdown" (manual, 18.5)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


async def _promises(db: Database, place: Any) -> None:
    tenant = place.fresh(
        "create table pairs (other int references contacts deferrable initially deferred)",
        "create procedure leave() language plpgsql as $$ begin"
        " insert into contacts values (77, 'x'); commit;"
        " insert into public.escaped_ids values (1); end $$",
        "create procedure slip_away() language plpgsql as $$ begin commit;"
        " insert into public.escaped_ids values (2); end $$",
    )
    place.run("create table if not exists public.escaped_ids (id int)")
    place.run(f"grant all on public.escaped_ids to {place.role}")
    handle = db.tenant(tenant)

    assert await handle.fetch_value("select name from contacts") == tenant
    for _ in range(20):
        with pytest.raises(TenantNotFound):
            await db.tenant("nobody").fetch_all("select 1")
        assert await handle.fetch_value("select count(*) from contacts") == 1
    for verb in (handle.execute, handle.fetch_all):
        with pytest.raises(InvalidReference):
            await verb("insert into pairs values (99) returning other")
        with pytest.raises(StatementFault):
            await verb("call leave()")
        with pytest.raises(StatementFault):
            await verb("call slip_away()")
        with pytest.raises(StatementFault):
            await verb("select 1/0")
    assert place.run("select count(*) from public.escaped_ids") == [(0,)]
    async with handle.transaction() as tx:
        await tx.execute("insert into contacts values (2, 'x')")
        with pytest.raises(StatementFault):
            async with tx.transaction():
                await tx.execute("nonsense")
    assert await handle.fetch_value("select count(*) from contacts") == 2
    await handle.execute("lock table contacts in exclusive mode")
    with pytest.raises((QueryTimeout, TransactionTimeout)):
        async with handle.transaction(timeout=0.05) as tx:
            await tx.execute("select pg_sleep(30)")
    place.run(f"revoke usage on schema tenant_{tenant} from {place.role}")
    with pytest.raises(TenantSuspended):
        await handle.fetch_all("select 1")
    with pytest.raises(TenantSuspended):
        await handle.execute("delete from contacts")


@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_the_promises_hold_on_the_newest_server(place: Any, pooler: str) -> None:
    async with Database(place.config(pooler=pooler)) as db:
        await _promises(db, place)


@pytest.mark.parametrize("pooler", ["none", "transaction"])
async def test_the_promises_hold_on_postgresql_15(
    old_server: str, place_on: Any, pooler: str
) -> None:
    place = place_on(old_server)
    async with Database(place.config(pooler=pooler)) as db:
        await _promises(db, place)


@pytest.fixture
def pgbouncer(place: Any, tmp_path: Path) -> Iterator[str]:
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("this machine has no PgBouncer")
    port = _port()
    home = Path(tempfile.mkdtemp(prefix="mtenant-pgbouncer-"))
    target = psycopg.conninfo.conninfo_to_dict(place.app)
    (home / "users.txt").write_text(f'"{place.role}" ""\n')
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n{target['dbname']} = host={target['host']} port={target['port']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {home}/users.txt\npool_mode = transaction\n"
        "default_pool_size = 2\n"
    )
    for path in (home, *home.iterdir()):
        if os.geteuid() == 0:
            shutil.chown(path, NOBODY, NOBODY)
    process = subprocess.Popen(_as_ordinary(program, home / "pgbouncer.ini"), cwd=home)
    url = f"postgresql://{place.role}@127.0.0.1:{port}/{target['dbname']}"
    try:
        _until_it_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(home, ignore_errors=True)


async def test_the_promises_hold_behind_pgbouncer(place: Any, pgbouncer: str) -> None:
    async with Database(place.config(url=pgbouncer, pooler="transaction")) as db:
        await _promises(db, place)
