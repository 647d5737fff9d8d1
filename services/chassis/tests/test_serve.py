from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from openapi_spec_validator import validate

from mtenant_chassis import main
from mtenant_chassis.testing import Issuer, Place, serving
from mtenant_config import ConfigError

pytestmark = pytest.mark.anyio
DEADLINE = 30.0

PROGRAM = """
import asyncio, os, sys
from pathlib import Path

from fastapi import Response

from mtenant_chassis import Router, create_app, main, public

router = Router(prefix="/api/pens")


@router.get("/slow", dependencies=[public()])
async def slow() -> str:
    print("inside", flush=True)
    while not Path(os.environ["GO"]).exists():
        await asyncio.sleep(0.01)
    return "written"


@router.get("/large", dependencies=[public()])
async def large() -> Response:
    return Response(b"x" * 20_000_000)


def create(settings):
    return create_app(settings, routers=[router])


raise SystemExit(
    main("pen-service", create, port=8999, version="1.2.3", calls=(), migrations=Path(os.environ["FOLDER"]))
)
"""


@dataclass
class Program:
    """A process that serves."""

    process: asyncio.subprocess.Process
    url: str
    go: Path
    lines: list[str]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def environ(place: Place, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": place.app,
        "ENVIRONMENT": "dev",
        "PORT": "0",
        "DB_MAX_RETRIES": "0",
        "GO": str(tmp_path / "go"),
        "FOLDER": str(tmp_path),
    }


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@asynccontextmanager
async def started(program: Path, environ: dict[str, str]) -> AsyncIterator[Program]:
    """Start the program, and wait until it listens; it is killed if the test does not end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            lines.append(line.decode())
            at = re.search(r"http://127\.0\.0\.1:\d+", lines[-1])
            if at and not found.done():
                found.set_result(at[0])
        if not found.done():
            found.set_exception(AssertionError("".join(lines)))

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(DEADLINE):
            url = await found
        yield Program(process, url, Path(environ["GO"]), lines)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def until(look: Callable[[], Awaitable[object]]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not await look():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_at_a_signal_it_is_not_ready_ends_what_runs_and_exits_with_0(
    program: Path, environ: dict[str, str], number: signal.Signals
) -> None:
    async with (
        started(program, {**environ, "DRAIN_DELAY": "1h"}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=DEADLINE) as client,
    ):

        async def refused() -> bool:
            try:
                async with httpx.AsyncClient(base_url=served.url) as another:
                    await another.get("/live")
            except httpx.TransportError:  # refused, or cut off while it waited to be accepted
                return True
            return False

        async def draining() -> bool:
            answer = await client.get("/ready")
            return answer.status_code == 503 and answer.json()["phase"] == "draining"

        slow = asyncio.create_task(client.get("/api/pens/slow"))
        await until(lambda: asyncio.sleep(0, "inside\n" in served.lines))
        assert (await client.get("/ready")).status_code == 200

        served.send(number)
        await until(draining)
        assert (await client.get("/live")).status_code == 200
        assert (await client.get("/nowhere")).status_code == 404  # those that come are answered

        served.send(number)  # a second one skips the delay
        await until(refused)
        assert not slow.done()
        served.go.touch()
        answer = await slow
        assert (answer.status_code, answer.json()) == (200, "written")
        async with asyncio.timeout(DEADLINE):
            status = await served.process.wait()

    assert status == 0
    assert "Traceback" not in "".join(served.lines)


async def test_a_request_that_takes_too_long_does_not_hold_the_end(
    program: Path, environ: dict[str, str]
) -> None:
    environ = {**environ, "SHUTDOWN_TIMEOUT": "1s"}
    async with started(program, environ) as served, httpx.AsyncClient(timeout=DEADLINE) as client:
        slow = asyncio.create_task(client.get(f"{served.url}/api/pens/slow"))
        await until(lambda: asyncio.sleep(0, "inside\n" in served.lines))
        served.send(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            status = await served.process.wait()
        with pytest.raises(httpx.HTTPError):
            (await slow).raise_for_status()

    assert status == 0


async def test_a_reader_that_is_slow_does_not_hold_others_nor_the_end(
    program: Path, environ: dict[str, str]
) -> None:
    async with started(program, {**environ, "SHUTDOWN_TIMEOUT": "1s"}) as served:
        port = int(served.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /api/pens/large HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(10)  # and no more
        async with httpx.AsyncClient(base_url=served.url, timeout=DEADLINE) as client:
            answers = await asyncio.gather(*(client.get("/live") for _ in range(20)))
        served.send(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            status = await served.process.wait()
        writer.close()

    assert {one.status_code for one in answers} == {200}
    assert status == 0


def command(program: Path, environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_settings_that_are_wrong_are_all_told_at_once_and_no_secret_is(
    program: Path, environ: dict[str, str]
) -> None:
    wrong = {**environ, "PORT": "x", "MAX_BODY": "much", "DATABASE_URL": "postgres://u:hunter2@:x"}
    status, out, err = command(program, wrong)

    assert status == 2
    assert "PORT" in err
    assert "MAX_BODY" in err
    assert "Traceback" not in err
    assert "hunter2" not in out + err


def test_a_command_of_the_service_itself_is_run_and_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise ConfigError([])

    def run(*arguments: str) -> int:
        return main(
            "pen-service",
            lambda settings: pytest.fail("no app is needed"),
            port=8999,
            version="1.2.3",
            commands={"sharpen": lambda: 7, "fail": fail},
            arguments=arguments,
        )

    assert (run("sharpen"), run("fail")) == (7, 2)
    with pytest.raises(SystemExit):
        run("--help")
    assert "{serve,migrate,openapi,sharpen,fail}" in capsys.readouterr().out


def test_the_document_needs_no_server(program: Path, environ: dict[str, str]) -> None:
    status, out, _ = command(
        program, {**environ, "DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}, "openapi"
    )

    assert status == 0
    document = json.loads(out)
    validate(document)
    assert document["info"] == {"title": "pen-service", "version": "1.2.3"}


def test_a_program_that_cannot_start_says_why_and_fails(
    program: Path, environ: dict[str, str]
) -> None:
    gone = {**environ, "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}
    status, out, err = command(program, gone)

    assert status == 3
    assert "127.0.0.1" in out
    assert "hunter2" not in out + err


def test_a_port_that_is_taken_is_told(program: Path, environ: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, out, _ = command(program, {**environ, "PORT": port})

    assert status in {1, 3}
    assert port in out


async def test_migrate_is_a_command_that_tells_which_tenants_failed(
    program: Path, environ: dict[str, str], postgres_dsn: str, tmp_path: Path
) -> None:
    place = await asyncio.to_thread(Place.make, postgres_dsn)
    tenant = await place.new_tenant()
    (tmp_path / "tenant").mkdir()
    (tmp_path / "tenant" / "001_pens.sql").write_text(
        "-- Migration: Pens\n-- Version: 001\n-- Description: pens\n\nCREATE TABLE pens (id int);\n"
    )
    (tmp_path / "tenant" / "001_rollback.sql").write_text(
        "-- Rollback: Pens\n-- Version: 001\n-- Description: undo: pens\n\nDROP TABLE pens;\n"
    )
    environ = {
        **environ,
        "DATABASE_URL": place.owner,
        "DB_OWNER_ROLE": str(place.migrate.owner),
        "DB_APP_ROLE": str(place.migrate.app),
    }
    place.rows(f"create table tenant_{tenant}.pens (id int)")
    failed = await asyncio.to_thread(command, program, environ, "migrate")
    place.rows(f"drop table tenant_{tenant}.pens")
    done = await asyncio.to_thread(command, program, environ, "migrate")
    again = await asyncio.to_thread(command, program, environ, "migrate")

    assert failed[0] == 1
    assert tenant in failed[1]
    assert done[0] == again[0] == 0
    assert "1 migrated" in done[1]
    assert place.rows(f"select count(*) from tenant_{tenant}.pens") == [(0,)]


async def test_of_two_processes_one_that_dies_takes_nothing_along(
    program: Path, environ: dict[str, str]
) -> None:
    async with started(program, environ) as one, started(program, environ) as two:
        one.process.kill()
        await one.process.wait()
        async with httpx.AsyncClient(base_url=two.url, timeout=DEADLINE) as client:
            assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(20_000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /\x00\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/notes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + b"a" * 60_000
        + b"\r\n\r\n",
        b"GET /api/notes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /api/notes HTTP/1.1\r\nHost: x\r\nTraceparent: \xff\r\nX-Request-Id: \xff\r\n\r\n",
    ],
    ids=[
        "header",
        "path",
        "headers",
        "tls",
        "length",
        "smuggling",
        "space",
        "bytes",
        "token",
        "token bytes",
        "trace bytes",
    ],
)
async def test_no_bytes_make_a_fault_or_stop_the_next_request(
    notes_app: Any, place: Place, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(notes_app(), place.settings("note-service")) as (url, _):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = b""
        try:
            writer.write(request_)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                answer = await reader.read()
        except ConnectionResetError:
            pass  # as good an answer as any
        finally:
            writer.close()
        async with httpx.AsyncClient(base_url=url, timeout=DEADLINE) as client:
            after = await client.get("/live")

    assert after.status_code == 200
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert "Traceback" not in caplog.text


async def test_a_client_that_goes_away_cancels_nothing_that_was_begun(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, eventually: Any
) -> None:
    app = notes_app()
    async with serving(app, place.settings("note-service")) as (url, _):
        port = int(url.rpartition(":")[2])
        body = json.dumps({"title": "gone"}).encode()
        token = issuer.token(acme, "member")
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /api/notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Idempotency-Key: once\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
                % (token.encode(), len(body), body)
            )
            await writer.drain()
            writer.transport.abort()
        await eventually(lambda: app.state.chassis.metrics.running == 0)
        async with httpx.AsyncClient(base_url=url, timeout=DEADLINE) as client:
            answer = await client.post(
                "/api/notes",
                content=body,
                headers={
                    **issuer.bearer(acme, "member"),
                    "idempotency-key": "once",
                    "content-type": "application/json",
                },
            )

    assert answer.status_code == 201
    assert place.rows(f"select count(*) from tenant_{acme}.notes") == [(1,)]


async def test_clients_that_send_their_bodies_slowly_hold_nothing_that_others_need(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with serving(notes_app(), place.settings("note-service")) as (url, _):
        port = int(url.rpartition(":")[2])
        token = issuer.token(acme, "member").encode()
        slow = []
        for number in range(40):  # of ten connections to the database
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /api/notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Idempotency-Key: slow-%d\r\nAuthorization: Bearer %s\r\nContent-Length: 20\r\n\r\n{"
                % (number, token)
            )
            await writer.drain()
            slow.append(writer)
        async with httpx.AsyncClient(base_url=url, timeout=DEADLINE) as client:
            member = issuer.bearer(acme, "member")
            asked = [
                client.post("/api/notes", headers=member, json={"title": f"fast {number}"})
                for number in range(20)
            ]
            answers = await asyncio.gather(*asked)
        for writer in slow:
            writer.transport.abort()

    assert [one.status_code for one in answers] == [201] * 20
    assert place.rows(f"select count(*) from tenant_{acme}.notes") == [(20,)]


@pytest.mark.parametrize("known", [True, False], ids=["with a token", "without"])
async def test_a_body_without_an_end_is_answered_and_cut_off(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, known: bool
) -> None:
    token = issuer.token(acme, "member") if known else "nobody"
    async with serving(notes_app(), place.settings("note-service")) as (url, _):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /api/notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nAuthorization: Bearer %s\r\n\r\n" % token.encode()
        )
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionError):
                while not reading.done():
                    writer.write(chunk)
                    await writer.drain()
            await asyncio.wait({reading})
        writer.transport.abort()

    if (
        reading.exception() is None
    ):  # else it was cut off while it still sent, and the answer is lost
        answer = reading.result()
        assert answer.startswith(b"HTTP/1.1 413" if known else b"HTTP/1.1 401")
        assert b"connection: close" in answer


def test_migrate_tells_what_is_wrong_in_a_line(program: Path, environ: dict[str, str]) -> None:
    away = {**environ, "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}
    status, out, err = command(program, away, "migrate")

    assert status == 1
    assert "127.0.0.1" in err
    assert "Traceback" not in err
    assert "hunter2" not in out + err
