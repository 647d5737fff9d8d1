"""The CRM on the stack: its services as processes, its story, its migrations."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mtenant_devstack import DevstackError, PortTaken, Stack
from mtenant_devstack.__main__ import main
from mtenant_devstack.crm import Crm
from mtenant_devstack.events import EventWatch
from mtenant_devstack.http import Http
from mtenant_devstack.process import Process, descendants
from mtenant_devstack.service import PROGRAMS, Program, installed, plain_environment

Command = Callable[..., subprocess.Popen[str]]
Eventually = Callable[[Callable[[], object]], None]
Gone = Callable[[list[Process]], bool]
Left = Callable[[], list[object]]
VARIABLES = ("DATABASE_URL", "NATS_URL", "REDIS_URL")
STEPS = (
    *("migrate and start", "register", "login", "invite", "accept", "users", "events"),
    *("import", "export", "api/deals", "kill -9", "PUT", "closed_won", "o.gif", "tasks", "Globex"),
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@pytest.fixture
def superuser(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stack.urls["DATABASE_URL"], autocommit=True) as connection:
        yield connection


def whats_there(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute("select datname from pg_database union select rolname from pg_roles")
    return {str(name) for (name,) in rows}


def test_every_service_of_this_workspace_is_known() -> None:
    folders = Path(__file__).parents[3].glob("services/*-service/pyproject.toml")

    assert {path.parent.name for path in folders} <= {program.name for program in PROGRAMS}
    assert len({program.port for program in PROGRAMS}) == len(PROGRAMS)
    assert [program.name for program in installed()][:2] == ["auth-service", "tenant-service"]


def test_the_story_on_servers_of_ones_own_leaves_nothing_there(
    stack: Stack,
    superuser: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, url in stack.urls.items():
        monkeypatch.setenv(variable, url)
    before = whats_there(superuser)

    assert main(["demo"]) == 0

    said = capsys.readouterr().out.splitlines()[4:]
    table = [line.split() for line in said if line.startswith("    ")]
    assert [row[0] for row in table] == ["forecast", "before", "after"]
    lines = [line for line in said if not line.startswith("    ")]
    assert len(lines) == len(STEPS)
    for line, words in zip(lines, STEPS, strict=True):
        assert re.match(r"ok +\d+\.\d\d s  ", line)
        assert words in line
    assert whats_there(superuser) == before


def test_a_role_that_may_not_make_databases_is_told_so(
    stack: Stack, superuser: psycopg.Connection
) -> None:
    superuser.execute("create role humble login")
    url = stack.urls["DATABASE_URL"].replace("postgres@", "humble@")
    before = whats_there(superuser)

    with (
        Stack(()) as other,
        pytest.raises(DevstackError, match="may not make databases"),
        Crm(other, {**stack.urls, "DATABASE_URL": url}) as crm,
    ):
        crm.start()

    assert whats_there(superuser) == before


def test_demo_stays_up_with_an_address_for_each_service_until_it_is_told_to_stop(
    crm: Command, left: Left
) -> None:
    # Somebody may have the usual ports.
    with (
        closing(socket.create_server(("127.0.0.1", PROGRAMS[0].port)))
        if free(PROGRAMS[0].port)
        else closing(socket.socket())
    ):
        process = crm("demo", "--stay")
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("export REDIS_URL"):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read() if process.stderr else ""
    docs = re.findall(r"# ([\w-]+): (http://127\.0\.0\.1:(\d+))/docs", "".join(lines))
    assert [name for name, _, _ in docs] == [program.name for program in installed()]
    assert docs[0][2] != str(PROGRAMS[0].port)

    login = next(line for line in lines if line.startswith("# curl"))[2:]
    answer = subprocess.run(
        ["/bin/sh", "-c", f"{login.strip()} --silent --fail"], capture_output=True, check=False
    )
    if answer.returncode != 127:  # no curl here
        assert b"access_token" in answer.stdout

    process.terminate()

    process.communicate(timeout=60)
    assert process.returncode == 0
    assert left() == []


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_service_is_killed_and_started_again_on_its_port(stack: Stack) -> None:
    with Crm(stack, stack.urls) as crm:
        crm.start()
        service = crm.services["tenant-service"]
        urls = {"tenant-service": service.url}
        assert Http(urls).get("tenant-service", "/live") == {"status": "alive"}

        service.kill()
        with pytest.raises(DevstackError, match="GET /live of tenant-service: no answer"):
            Http(urls).get("tenant-service", "/live")
        with pytest.raises(DevstackError, match="tenant-service ended with status -9"):
            service.check()
        service.start()

        assert Http(urls).get("tenant-service", "/live") == {"status": "alive"}
        with pytest.raises(DevstackError, match="404 instead of 200"):
            Http(urls).get("tenant-service", "/nowhere")


def test_a_service_whose_port_is_taken_names_it(stack: Stack) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        settings = {
            **plain_environment(),
            **stack.urls,
            "TENANT_SERVICE_URL": "http://127.0.0.1:1",
            "ENVIRONMENT": "development",
            "DB_AUTO_MIGRATE": "false",
        }
        service = stack.service(Program("auth-service", port), settings, port)

        with pytest.raises(PortTaken, match=f"port {port} .* auth-service cannot"):
            service.start()


def test_a_service_that_cannot_start_says_why(stack: Stack) -> None:
    program = Program("auth-service", 8080)
    service = stack.service(program, plain_environment(), program.free_port())

    with pytest.raises(DevstackError, match=r"(?s)ended with status 2.*TENANT_SERVICE_URL"):
        service.start()


def test_an_event_that_does_not_come_is_missed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtenant_devstack.events.TIMEOUT", 0.05)

    with (
        EventWatch(stack.urls["NATS_URL"]) as events,
        pytest.raises(DevstackError, match=r"no deal\.won of acme within"),
    ):
        events.wait("acme", "deal.won")
    nowhere = EventWatch("nats://127.0.0.1:1")
    with pytest.raises(DevstackError, match="no connection to NATS"), nowhere:
        pass


def test_migrate_runs_every_service_and_does_nothing_the_second_time(
    stack: Stack,
    superuser: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    superuser.execute("create role keeper login")
    superuser.execute("create database kept owner keeper")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert main(["migrate"]) == 1
    assert "DATABASE_URL is not set" in capfd.readouterr().err

    url = stack.urls["DATABASE_URL"].replace("postgres@", "keeper@").replace("/postgres", "/kept")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DB_OWNER_ROLE", "keeper")
    assert main(["migrate"]) == 0
    with psycopg.connect(url) as connection:
        rows = connection.execute("select to_regclass('shared.organizations')::text").fetchall()
    assert rows == [("shared.organizations",)]
    assert main(["migrate"]) == 0
    assert [name for name in capfd.readouterr().err.split() if name.endswith("-service")] == [
        program.name for program in [*installed(), *installed()]
    ]

    monkeypatch.setattr("mtenant_devstack.__main__.installed", lambda: PROGRAMS[:1])
    monkeypatch.setenv("DB_OWNER_ROLE", "nobody_there")
    assert main(["migrate"]) == 1


def test_migrate_without_services_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/x")
    monkeypatch.setattr("mtenant_devstack.__main__.installed", list)

    assert main(["migrate"]) == 1
    assert "no service is installed here" in capsys.readouterr().err


def test_a_migration_that_is_interrupted_ends_with_its_service(
    stack: Stack, crm: Command, eventually: Eventually, gone: Gone
) -> None:
    process = crm("migrate", **{**stack.urls, "DATABASE_URL": "postgresql://127.0.0.1:1/x"})
    eventually(lambda: descendants(process.pid))
    everybody = descendants(process.pid)

    os.killpg(process.pid, signal.SIGINT)

    process.communicate(timeout=60)
    assert process.returncode == 130
    eventually(lambda: gone(everybody))
