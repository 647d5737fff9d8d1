"""The program pg_dump: how it is found, called and ended. A password is never on its command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from typing import Final

from psycopg.conninfo import make_conninfo

from mtenant_database.dsn import Parameters
from mtenant_database.migrate.archive import BLOCK
from mtenant_database.migrate.errors import DumpFailed
from mtenant_database.migrate.ledger import Place
from mtenant_database.migrate.settings import MigrateSettings

_KEPT: Final = 4000  # bytes of what it says when it fails
_GRACE: Final = 5.0  # seconds between SIGTERM and SIGKILL


async def pg_dump(
    settings: MigrateSettings,
    parameters: Parameters,
    place: Place,
    snapshot: str,
    *,
    role: str | None,
) -> AsyncGenerator[bytes, None]:
    """Yield the SQL text that makes a schema again, with its rows and its grants.

    Owners are left out: whoever restores it owns it.

    Args:
        settings: Which program, and how long it waits for a lock.
        parameters: libpq's, of the one server that knows the snapshot.
        place: Whose schema.
        snapshot: What it shows; exported by a transaction that is open until the end.
        role: The role that it takes; None for the one that connects.

    Raises:
        DumpFailed: There is no such program, or it failed.
    """
    process = await _start(settings, parameters, place, snapshot, role)
    assert process.stdout is not None and process.stderr is not None  # noqa: PT018, S101 -- pipes
    complaints = asyncio.create_task(_tail(process.stderr))
    try:
        while block := await process.stdout.read(BLOCK):
            yield block
        status = await process.wait()
        said = await complaints
    finally:
        await _end(process)
        complaints.cancel()
    if status != 0:
        raise DumpFailed(where=str(place), problem=_why(settings.pg_dump, status, said))


async def _start(
    settings: MigrateSettings,
    parameters: Parameters,
    place: Place,
    snapshot: str,
    role: str | None,
) -> asyncio.subprocess.Process:
    program = shutil.which(settings.pg_dump)
    if program is None:
        raise DumpFailed(
            where=str(place),
            problem=f"there is no program {settings.pg_dump}: install PostgreSQL's client programs, "
            "or name pg_dump by PG_DUMP",
        )
    if parameters.get("sslpassword"):
        # libpq has no variable for it, and everybody on the machine reads command lines.
        raise DumpFailed(
            where=str(place),
            problem="pg_dump cannot be told sslpassword out of sight: use a key without one",
        )
    environment = {**os.environ, "LC_ALL": "C"}
    if password := parameters.get("password"):
        environment["PGPASSWORD"] = password
    seen = {name: value for name, value in parameters.items() if name != "password"}
    wait = round(settings.lock_wait.total_seconds() * 1000)
    return await asyncio.create_subprocess_exec(
        program,
        f'--schema="{place.schema}"',
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={wait}",
        *([f"--role={role}"] if role else []),
        "--strict-names",
        "--no-password",
        "--no-owner",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        "--encoding=UTF8",
        f"--dbname={make_conninfo(**seen)}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=BLOCK,
        env=environment,
        # Ctrl-C is for us, who end it; if we are killed it ends by its closed pipe.
        start_new_session=True,
    )


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while block := await stream.read(BLOCK):
        kept = (kept + block)[-_KEPT:]
    return kept.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _why(program: str, status: int, said: str) -> str:
    if status < 0:
        return f"{program} was ended by {signal.Signals(-status).name}"
    lines = [line.removeprefix("pg_dump: ") for line in said.splitlines() if line.strip()]
    # The first error is the cause; what follows is the query that it came from.
    first = next((line for line in lines if "error:" in line), lines[-1] if lines else "")
    hint = ""
    if "server version mismatch" in said:
        hint = f" ({'; '.join(lines[1:])}): name a pg_dump of the server's version by PG_DUMP"
    return f"{program} failed with status {status}: {first.removeprefix('error: ')}{hint}"
