"""What the tests share: bounded waits, a temporary directory of their own, and who is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtenant_devstack.process import Process, descendants, find

DEADLINE = 30.0  # seconds; generous, since a test only waits so long when it fails

Eventually = Callable[[Callable[[], object]], None]
Crm = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until the predicate holds, and fail if it does not in time."""

    def wait(predicate: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not predicate():
            assert time.monotonic() < deadline, f"not in {DEADLINE:g} s: {predicate}"
            time.sleep(0.005)

    return wait


@pytest.fixture
def open_tmp(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A temporary directory that everybody may enter, and the one that devstack uses."""
    tmp_path_factory.getbasetemp()  # pytest's own is made at first use, and not to be in ours
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="devstack-test-"))
    path.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def left(open_tmp: Path) -> Callable[[], list[object]]:
    """Return what runs or stands below `open_tmp`: directories of runs, and processes."""

    def look() -> list[object]:
        return [*open_tmp.glob("mtenant-devstack-*"), *_processes_below(open_tmp)]

    return look


@pytest.fixture
def family() -> Callable[[int], list[Process]]:
    """Return a process and all its descendants, to ask later whether they are gone."""

    def collect(pid: int) -> list[Process]:
        process = find(pid)
        return [*([process] if process else []), *descendants(pid)]

    return collect


@pytest.fixture
def gone() -> Callable[[list[Process]], bool]:
    return lambda processes: not [p for p in processes if find(p.pid) == p]


@pytest.fixture
def crm(open_tmp: Path) -> Iterator[Crm]:
    """Start the command line as a program of its own, in a session of its own."""
    started: list[subprocess.Popen[str]] = []
    # Under nohup, SIGHUP is ignored by whoever it starts; the program would rightly keep that.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def start(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        unset = {"DATABASE_URL", "NATS_URL", "REDIS_URL"}
        env = {key: value for key, value in os.environ.items() if key not in unset}
        process = subprocess.Popen(
            [sys.executable, "-m", "mtenant_devstack", *arguments],
            env={**env, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    signal.signal(signal.SIGHUP, inherited)


def _processes_below(directory: Path) -> list[str]:
    """Return those whose command line or working directory is there (Linux only)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            here = str((entry / "cwd").readlink())
        except OSError:
            continue
        if int(entry.name) != os.getpid() and (str(directory) in command or str(directory) in here):
            found.append(f"{entry.name}: {command}")
    return found
