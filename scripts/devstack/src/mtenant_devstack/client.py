"""The owner's side of the watcher: ask it for processes and directories."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtenant_devstack.account import Account
from mtenant_devstack.errors import DevstackError, ServerFailed, WatcherDied
from mtenant_devstack.process import Process, descendants, find
from mtenant_devstack.watcher import GRACE, POLL

TAIL = 20  # lines of a log that an error shows
CLOSE_TIMEOUT = 2 * GRACE + 5  # seconds; the watcher itself waits GRACE, kills, and waits again


class Child:
    """A process that the watcher started for us.

    Attributes:
        pid: its process id.
        log: the file with all that it wrote.
    """

    def __init__(self, client: WatcherClient, pid: int, log: Path) -> None:
        self._client = client
        self.pid = pid
        self.log = log

    @property
    def status(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        status: int | None = self._client.ask("status", pid=self.pid)
        return status

    def signal(self, number: int) -> None:
        """Send a signal to it and its process group; nothing happens if it has ended."""
        self._client.ask("signal", pid=self.pid, number=number)

    def kill(self) -> None:
        """SIGKILL it and all its descendants, and return when they are gone."""
        self._client.ask("kill", pid=self.pid)

    def wait(self, seconds: float) -> int | None:
        """Return how it ended, or None if it still runs after so many seconds."""
        deadline = time.monotonic() + seconds
        while (status := self.status) is None and time.monotonic() < deadline:
            time.sleep(POLL)
        return status

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL:])


class WatcherClient:
    """A watcher process and the pipes to it. Safe to use from several threads.

    Closing it, dying in any way, or losing the pipe has one effect: the watcher stops every process
    and removes every directory that was asked for here.

    Args:
        keep: descriptors that the watcher holds open as long as it lives; its servers do not.
    """

    def __init__(self, keep: Sequence[int] = ()) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._last_id = 0
        self._directories: list[Path] = []
        self._processes: list[Process] = []
        # -I and -S: nothing of the user's environment runs in the watcher, and it starts quickly.
        source = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})"
        code = f"{source}; from mtenant_devstack.watcher import main; main()"
        self._watcher = subprocess.Popen(  # noqa: S603 -- this interpreter and our own module
            [sys.executable, "-I", "-S", "-c", code, str(self._pid)],
            bufsize=0,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=keep,
            start_new_session=True,  # Ctrl-C in a terminal is for the owner alone
        )
        assert self._watcher.stdin is not None  # noqa: S101 -- for mypy: PIPE makes both
        assert self._watcher.stdout is not None  # noqa: S101
        self._requests, self._replies = self._watcher.stdin, self._watcher.stdout
        self._unread = b""

    @property
    def pid(self) -> int:
        """The process id of the watcher."""
        return self._watcher.pid

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Send one request and return its answer.

        Raises:
            DevstackError: the watcher could not do it; the message is the operating system's.
            WatcherDied: there is no watcher any more.
        """
        with self._lock:
            self._last_id += 1
            request = {"id": self._last_id, "do": operation, **arguments}
            try:
                self._send(request)
                # An interrupt may have left the answer to an earlier request unread.
                while (reply := json.loads(self._line())).get("id") != self._last_id:
                    pass
            except (OSError, ValueError, EOFError) as exc:
                raise WatcherDied(
                    f"the watcher process {self.pid} is gone, and the servers with it:"
                    " open a new stack"
                ) from exc
        if "error" in reply:
            raise DevstackError(reply["error"])
        return reply["value"]

    def directory(
        self, parent: Path, prefix: str, *, mode: int = 0o700, owner: Account | None = None
    ) -> Path:
        """Make a new directory that is removed with the watcher."""
        ids = owner and owner.ids
        made = Path(self.ask("directory", parent=str(parent), prefix=prefix, mode=mode, owner=ids))
        self._directories.append(made)
        return made

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        stop_signal: int = signal.SIGTERM,
        owner: Account | None = None,
    ) -> Child:
        """Start a program, as `owner` if given; its output goes to `log`."""
        pid = self.ask(
            "spawn",
            argv=[str(word) for word in argv],
            cwd=str(cwd),
            env=dict(env),
            log=str(log),
            stop_signal=int(stop_signal),
            owner=owner and owner.ids,
        )
        if process := find(pid):
            self._processes.append(process)
        return Child(self, pid, log)

    def run(self, argv: Sequence[str | Path], *, seconds: float, **options: Any) -> None:
        """Start a program and wait until it has ended well.

        Raises:
            ServerFailed: it ended with another status than 0, or not within so many seconds.
        """
        child = self.spawn(argv, **options)
        status = child.wait(seconds)
        name = shlex.join(map(str, argv))
        if status is None:
            child.kill()
            raise ServerFailed(f"{name} ran longer than {seconds:g} s", log=child.tail())
        if status != 0:
            raise ServerFailed(f"{name} ended with status {status}", log=child.tail())

    def close(self) -> None:
        """Have everything stopped and removed, and return when it is done.

        In a fork of the process that opened it nothing happens: the servers are not the fork's.
        """
        if os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError, ValueError):
            # A fork may hold the pipe open, so say it too.
            self._requests.write(b'\n{"id": 0, "do": "close"}\n')
        self._requests.close()
        try:
            status = self._watcher.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            status = self._watcher.wait()
        self._replies.close()
        if status < 0:
            self._clean_up()

    def _send(self, request: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(request).encode() + b"\n")
        while line:
            line = line[self._requests.write(line) :]

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            chunk = self._replies.read(65536)
            if not chunk:
                raise EOFError("the watcher closed its end")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _clean_up(self) -> None:
        """Do what a killed watcher could not. On Linux the kernel has signalled the servers too."""
        started = [process for process in self._processes if find(process.pid) == process]
        everybody = started + [m for process in started for m in descendants(process.pid)]
        # SIGINT ends each of the servers in good order; who does not end in time is killed.
        for number, processes in ((signal.SIGINT, started), (signal.SIGKILL, everybody)):
            for process in processes:
                if find(process.pid) == process:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, number)
            _await_end(everybody)
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)


def _await_end(processes: list[Process]) -> None:
    deadline = time.monotonic() + GRACE
    while any(find(p.pid) == p for p in processes) and time.monotonic() < deadline:
        time.sleep(POLL)
