from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mtenant_devstack import DevstackError, ServerFailed, Stack, WatcherDied, watcher
from mtenant_devstack.client import WatcherClient
from mtenant_devstack.process import Process, find, processes
from mtenant_devstack.watcher import Watcher

Eventually = Callable[[Callable[[], object]], None]
PAUSE = "import signal; signal.pause()"


class Owner:
    """The owner's end of a watcher that runs in a thread of the tests, so that it is measured."""

    def __init__(self, owner: int) -> None:
        reads, self._writes = os.pipe()
        self._answers, writes = os.pipe()
        self.watcher = Watcher(reads, writes, owner)
        self._ends = [reads, writes]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        self.watcher.serve()
        self.watcher.stop()
        self.watcher.remove_directories()
        for end in self._ends:
            os.close(end)

    def send(self, line: bytes) -> None:
        os.write(self._writes, line)

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.send(json.dumps({"id": 1, "do": operation, **arguments}).encode() + b"\n")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(os.read(self._answers, 65536))
        return reply

    def spawn(self, log: Path, code: str = PAUSE, stop_signal: int = signal.SIGTERM) -> int:
        program: dict[str, Any] = {
            "argv": [sys.executable, "-c", code],
            "cwd": "/",
            "env": {},
            "owner": None,
        }
        reply = self.ask("spawn", **program, log=str(log), stop_signal=int(stop_signal))
        pid: int = reply["value"]
        return pid

    def deafen(self) -> None:
        os.close(self._answers)
        self._answers = -1

    def close(self) -> None:
        for end in (self._writes, self._answers):
            if end >= 0:
                os.close(end)
        self._writes = self._answers = -1
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner(os.getppid())
    yield owner
    owner.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_what_was_started_and_made_ends_with_the_pipe(owner: Owner, tmp_path: Path) -> None:
    made = owner.ask("directory", parent=str(tmp_path), prefix="x", mode=0o711, owner=None)["value"]
    pid = owner.spawn(tmp_path / "log")
    assert Path(made).stat().st_mode & 0o777 == 0o711
    assert owner.ask("status", pid=pid)["value"] is None
    assert find(pid)

    owner.close()

    assert find(pid) is None
    assert not Path(made).exists()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_is_deaf_to_its_stop_signal_is_killed(
    owner: Owner, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "GRACE", 0.05)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    pid = owner.spawn(tmp_path / "log", deaf + PAUSE)
    eventually((tmp_path / "log").read_text)

    owner.close()

    assert find(pid) is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_signals_and_kill_reach_a_child_and_spare_one_that_has_ended(
    owner: Owner, tmp_path: Path, eventually: Eventually
) -> None:
    first = owner.spawn(tmp_path / "log")
    second = owner.spawn(tmp_path / "log")
    assert owner.ask("kill", pid=first) == {"id": 1, "value": None}
    assert owner.ask("status", pid=first)["value"] == -signal.SIGKILL
    assert owner.ask("kill", pid=first)["value"] is None
    owner.ask("signal", pid=second, number=signal.SIGTERM)
    eventually(lambda: owner.ask("status", pid=second)["value"] == -signal.SIGTERM)
    assert owner.ask("signal", pid=second, number=signal.SIGTERM)["value"] is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"{}\n", b'{"id": 1, "do": "nonsense"}\n'])
def test_a_request_that_makes_no_sense_is_answered_and_forgotten(line: bytes, owner: Owner) -> None:
    owner.send(line)
    assert owner.answer()["error"]
    assert "error" in owner.ask("status", pid=-1)


def test_a_request_may_come_in_pieces(owner: Owner, tmp_path: Path) -> None:
    request = {"id": 7, "do": "status", "pid": 0}
    line = json.dumps(request).encode()
    owner.send(b"\n" + line[:9])
    owner.send(line[9:] + b"\n")

    assert owner.answer()["id"] == 7


def test_an_owner_that_no_longer_listens_ends_the_watcher(owner: Owner) -> None:
    owner.deafen()
    owner.send(b"{}\n")
    owner.thread.join(30)
    assert not owner.thread.is_alive()


def test_close_ends_the_watcher_although_the_pipe_is_open(owner: Owner) -> None:
    owner.send(b'{"id": 0, "do": "close"}\n')
    owner.thread.join(30)
    assert not owner.thread.is_alive()


def test_an_owner_with_another_pid_has_died_although_the_pipe_is_open() -> None:
    owner = Owner(owner=-1)
    owner.thread.join(30)
    assert not owner.thread.is_alive()
    owner.close()


def test_kill_9_of_the_watcher_ends_the_servers_and_close_removes_the_directory(
    eventually: Eventually,
    family: Callable[[int], list[Process]],
    gone: Callable[[list[Process]], bool],
) -> None:
    with Stack() as stack:
        directory = stack.directory
        client = stack._client
        assert client is not None
        everybody = family(client.pid)

        os.kill(client.pid, signal.SIGKILL)

        with pytest.raises(WatcherDied, match="open a new stack"):
            stack.postgres.start()
        if sys.platform == "linux":
            eventually(lambda: gone([p for p in everybody if p.pid != client.pid]))

    assert gone(everybody)
    assert not directory.exists()


def test_sigterm_to_the_watcher_ends_the_servers_and_removes_the_directory(
    eventually: Eventually,
    family: Callable[[int], list[Process]],
    gone: Callable[[list[Process]], bool],
) -> None:
    with Stack(["nats", "valkey"]) as stack:
        directory = stack.directory
        client = stack._client
        assert client is not None
        everybody = family(client.pid)

        os.kill(client.pid, signal.SIGTERM)

        eventually(lambda: gone(everybody))
        assert not directory.exists()


def test_a_watcher_that_does_not_end_is_killed_and_cleaned_up_after(
    monkeypatch: pytest.MonkeyPatch,
    family: Callable[[int], list[Process]],
    gone: Callable[[list[Process]], bool],
) -> None:
    with Stack(["valkey"]) as stack:
        directory, client = stack.directory, stack._client
        assert client is not None
        everybody = family(client.pid)
        monkeypatch.setattr("mtenant_devstack.client.CLOSE_TIMEOUT", 0.2)
        os.kill(client.pid, signal.SIGSTOP)

    assert gone(everybody)
    assert not directory.exists()


def test_a_server_that_outlives_a_killed_watcher_is_killed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
    gone: Callable[[list[Process]], bool],
) -> None:
    monkeypatch.setattr("mtenant_devstack.client.GRACE", 0.1)
    deaf = "import signal\nfor n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, print)\n"
    code = deaf + "print(1, flush=True)\nwhile True: signal.pause()"
    client = WatcherClient()
    child = client.spawn([sys.executable, "-c", code], cwd=tmp_path, env={}, log=tmp_path / "log")
    eventually((tmp_path / "log").read_text)
    process = find(child.pid)
    assert process is not None
    os.kill(client.pid, signal.SIGKILL)

    client.close()

    assert gone([process])


def test_an_orphan_of_a_server_is_killed_with_the_stack(
    tmp_path: Path, eventually: Eventually
) -> None:
    code = f"import os, signal\nif os.fork() == 0:\n os.setsid()\n {PAUSE}\nprint(1)"
    client = WatcherClient()
    child = client.spawn([sys.executable, "-c", code], cwd=tmp_path, env={}, log=tmp_path / "log")
    assert child.wait(30) == 0
    orphans = [p for p in _children(client.pid) if p.pid != child.pid]

    client.close()

    if sys.platform == "linux":
        assert orphans
    assert not [p for p in orphans if find(p.pid) == p]


def _children(pid: int) -> list[Process]:
    return [p for p in processes().values() if p.parent == pid]


def test_a_program_that_fails_or_takes_too_long_is_an_error_with_its_last_lines(
    tmp_path: Path,
) -> None:
    client = WatcherClient()
    try:
        options: dict[str, Any] = {"cwd": tmp_path, "env": {}, "log": tmp_path / "log"}
        code = "print('first'); raise SystemExit('last')"
        with pytest.raises(ServerFailed, match=r"(?s)status 1; .*last") as caught:
            client.run([sys.executable, "-c", code], seconds=30, **options)
        assert sorted(caught.value.log.splitlines()) == ["first", "last"]
        with pytest.raises(ServerFailed, match=r"longer than 0\.1 s"):
            client.run([sys.executable, "-c", PAUSE], seconds=0.1, **options)
        with pytest.raises(DevstackError, match="No such file"):
            client.run([tmp_path / "missing"], seconds=1, **options)
    finally:
        client.close()
    with pytest.raises(WatcherDied):
        client.ask("status", pid=1)
    client.close()


def test_an_answer_that_an_interrupt_left_unread_is_not_taken_for_the_next_one(
    tmp_path: Path,
) -> None:
    client = WatcherClient()
    client._send({"id": -1, "do": "status", "pid": 1})
    try:
        child = client.spawn([sys.executable, "-c", ""], cwd=tmp_path, env={}, log=tmp_path / "log")
        assert child.wait(30) == 0
    finally:
        client.close()
