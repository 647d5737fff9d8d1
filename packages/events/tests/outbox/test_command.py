"""The command `mtenant-events`, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from mtenant_events.store.installation import MIGRATIONS

Run = subprocess.CompletedProcess[str]


def run(*arguments: str, **environ: str) -> Run:
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "mtenant_events", *arguments],
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_teaches_every_command_and_the_exit_statuses() -> None:
    shown = run("--help")

    assert shown.returncode == 0
    for word in ("outbox", "exit status", "DATABASE_URL", "NATS_URL"):
        assert word in shown.stdout


def test_a_wrong_command_is_status_2() -> None:
    assert run("outbox", "instal").returncode == 2
    assert run().returncode == 2


def test_a_missing_setting_is_named() -> None:
    refused = run("outbox", "status")

    assert refused.returncode == 1
    assert "DATABASE_URL" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    refused = run("outbox", "install", DATABASE_URL="postgresql://x:hunter2@127.0.0.1:1/x")

    assert refused.returncode == 1
    assert "OUTBOX_UNAVAILABLE" in refused.stderr
    assert "hunter2" not in refused.stderr + refused.stdout


def test_install_upgrade_and_status(bare_place: Any) -> None:
    installed = run("outbox", "install", "--app", bare_place.role, DATABASE_URL=bare_place.owner)
    again = run("outbox", "install", "--dsn", bare_place.owner)
    upgraded = run("outbox", "upgrade", "--dsn", bare_place.owner)
    status = run("outbox", "status", "--json", "--dsn", bare_place.app)

    assert installed.stdout == "eventing: 001 outbox\n"
    assert again.stdout == upgraded.stdout == "nothing to do: everything is there\n"
    assert json.loads(status.stdout) == {"pending": 0, "failed": 0, "oldest_age": 0.0}
    assert {one.returncode for one in (installed, again, upgraded, status)} == {0}


def test_status_is_3_when_something_could_not_be_published(place: Any) -> None:
    place.fill("s", "acme", ["a", "b"])
    place.run("update eventing.outbox set delayed_until = now(), attempts = 1 where key = 'a'")

    status = run("outbox", "status", "--dsn", place.app)

    assert status.returncode == 3
    assert status.stdout.startswith("2 wait, the oldest for ")
    assert "1 of them could not be published" in status.stdout


def test_the_database_without_an_outbox_is_told_how_to_get_one(bare_place: Any) -> None:
    refused = run("outbox", "status", "--dsn", bare_place.app)

    assert refused.returncode == 1
    assert "OUTBOX_NOT_INSTALLED" in refused.stderr
    assert "mtenant-events outbox install" in refused.stderr


def test_files_are_where_the_command_says() -> None:
    assert run("outbox", "files").stdout.strip() == str(MIGRATIONS)
    assert {path.name for path in MIGRATIONS.iterdir()} == {"shared", "tenant"}


@pytest.mark.parametrize("group", ["outbox"])
def test_help_of_a_group_needs_no_driver(group: str) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None;"
        f"from mtenant_events.__main__ import main; main(['{group}', '--help'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True
    )

    assert b"install" in shown.stdout
