"""The watcher: the process that starts the servers and outlives whoever asked for them.

It reads one JSON request a line from a pipe whose other end its owner holds, and answers each with
one line. When the owner is gone, by whatever death, the pipe ends: then the watcher stops every
process that it started, removes every directory that it made, and ends.

It has one thread and imports the standard library only, so that the hook between fork and exec is
safe: on Linux each child asks the kernel to be signalled when the watcher itself is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mtenant_devstack.process import Process, descendants, find

GRACE = 20.0  # seconds that a server gets to stop by itself; PostgreSQL writes a checkpoint then
OWNER_CHECK = 0.2  # seconds between two looks at the owner: a fork of it may hold the pipe open
POLL = 0.005  # seconds between two looks at a process that is to end

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_IPC_RMID = 0  # shmctl(2)


class Watcher:
    """Starts processes and makes directories on request, and ends and removes them all.

    Args:
        requests: file descriptor to read requests from.
        replies: file descriptor to write replies to.
        owner: pid of the process that asks, which is the parent of this one.
    """

    def __init__(self, requests: int, replies: int, owner: int) -> None:
        self._requests = requests
        self._replies = replies
        self._owner = owner
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._stop_signals: dict[int, int] = {}
        self._directories: list[str] = []

    def serve(self) -> None:
        """Answer requests until the owner says `close`, closes the pipe, or dies."""
        for line in self._lines():
            reply: dict[str, Any] = {}
            try:
                request = json.loads(line)
                reply["id"] = request.pop("id")
                operation = request.pop("do")
                if operation == "close":
                    return
                reply["value"] = getattr(self, f"do_{operation}")(**request)
            except Exception as exc:  # whatever it is, the owner is to read it
                reply["error"] = str(exc) or repr(exc)
            try:
                os.write(self._replies, json.dumps(reply).encode() + b"\n")
            except BrokenPipeError:
                return

    def do_directory(
        self, *, parent: str, prefix: str, mode: int, owner: tuple[int, int] | None
    ) -> str:
        """Make a new directory, which goes when the watcher does, and return its path."""
        path = tempfile.mkdtemp(dir=parent, prefix=prefix)
        self._directories.append(path)
        Path(path).chmod(mode)
        if owner is not None:
            os.chown(path, *owner)
        return path

    def do_spawn(
        self,
        *,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        log: str,
        stop_signal: int,
        owner: tuple[int, int] | None,
    ) -> int:
        """Start a program in a session of its own, as `owner` if given, and return its pid."""
        identity: dict[str, Any] = {}
        if owner is not None:
            identity = {"user": owner[0], "group": owner[1], "extra_groups": []}
        with Path(log).open("wb") as out:
            child = subprocess.Popen(  # noqa: S603 -- this is the place that starts programs
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_die_with_watcher(stop_signal),  # noqa: PLW1509 -- there is one thread
                **identity,
            )
        self._children[child.pid] = child
        self._stop_signals[child.pid] = stop_signal
        return child.pid

    def do_status(self, pid: int) -> int | None:
        """Return how a child ended, as `subprocess` does; None while it runs."""
        self._reap()
        return self._children[pid].returncode

    def do_signal(self, pid: int, number: int) -> None:
        """Send a signal to a child and its process group."""
        if self.do_status(pid) is None:
            os.killpg(pid, number)

    def do_kill(self, pid: int) -> None:
        """SIGKILL a child and all its descendants, and return when they are gone."""
        if self.do_status(pid) is not None:
            return
        os.kill(pid, signal.SIGSTOP)  # so that it starts nobody while we look
        _, status = os.waitpid(pid, os.WUNTRACED)  # it may be in the middle of a fork until then
        if not os.WIFSTOPPED(status):
            self._children[pid].returncode = os.waitstatus_to_exitcode(status)
        elif child := find(pid):
            self._kill([child, *descendants(pid)])

    def stop(self) -> None:
        """Stop every child: politely, and after GRACE seconds by SIGKILL."""
        self._reap()
        running = [process for pid in self._children if (process := find(pid))]
        families = [member for process in running for member in descendants(process.pid)]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, self._stop_signals[process.pid])
        self._await_end(running, GRACE)
        self._kill(running + families)

    def stop_strays(self) -> None:
        """SIGKILL whoever else descends from this process: orphans that came to it on Linux."""
        self._kill(descendants(os.getpid()))
        _remove_shared_memory({*self._children})

    def remove_directories(self) -> None:
        """Remove every directory made by `do_directory`."""
        for path in self._directories:
            shutil.rmtree(path, ignore_errors=True)

    def _lines(self) -> Iterator[bytes]:
        buffer = b""
        while True:
            readable, _, _ = select.select([self._requests], [], [], OWNER_CHECK)
            self._reap()
            if readable:
                chunk = os.read(self._requests, 65536)
                if not chunk:
                    return
                *lines, buffer = (buffer + chunk).split(b"\n")
                yield from (line for line in lines if line)
            elif os.getppid() != self._owner:
                return

    def _reap(self) -> None:
        """Collect whoever has ended: children, and orphans that the kernel gave to us."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self._children:
                    self._children[pid].returncode = os.waitstatus_to_exitcode(status)

    def _kill(self, processes: list[Process]) -> None:
        for process in filter(self._runs, processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._await_end(processes, GRACE)
        _remove_shared_memory({process.pid for process in processes})

    def _runs(self, process: Process) -> bool:
        if process.pid in self._children:  # a zombie whose other threads still end is not over
            return self._children[process.pid].returncode is None
        return find(process.pid) == process

    def _await_end(self, processes: list[Process], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(map(self._runs, processes)) and time.monotonic() < deadline:
            time.sleep(POLL)
            self._reap()


def main() -> None:
    """Serve the parent process on standard input and output."""
    signal.pthread_sigmask(
        signal.SIG_SETMASK, []
    )  # a mask is inherited, and the owner may have one
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # and so is SIG_IGN, by which we learn no status
    for number in (signal.SIGINT, signal.SIGHUP):  # the owner's business: it closes the pipe then
        signal.signal(number, _ignore)
    signal.signal(signal.SIGTERM, _exit)
    _adopt_orphans()
    watcher = Watcher(sys.stdin.fileno(), sys.stdout.fileno(), owner=int(sys.argv[1]))
    try:
        watcher.serve()
    finally:
        signal.signal(signal.SIGTERM, _ignore)
        watcher.stop()
        watcher.stop_strays()
        watcher.remove_directories()


def _ignore(number: int, frame: object) -> None:
    """Do nothing. SIG_IGN would be inherited by the servers; a handler is not."""


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none gets out of sight (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _die_with_watcher(number: int) -> Callable[[], None] | None:
    """Return what a child runs before exec: get `number` when this process dies (Linux)."""
    if sys.platform != "linux":
        return None
    prctl, watcher = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != watcher:  # it died before the kernel was asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_kernel


def _remove_shared_memory(creators: set[int]) -> None:
    """Remove the System V segments that killed processes left behind (Linux).

    PostgreSQL holds one, of 56 bytes, as a lock on its data directory (manual section 18.4.1). The
    kernel frees it when the last process has let go, which may be a moment after its end.
    """
    listing = Path("/proc/sysvipc/shm")
    if not listing.exists():
        return
    names, *rows = (line.split() for line in listing.read_text().splitlines())
    for row in rows:
        segment = dict(zip(names, map(int, row), strict=True))
        if segment["cpid"] in creators:
            ctypes.CDLL(None).shmctl(segment["shmid"], _IPC_RMID, None)
