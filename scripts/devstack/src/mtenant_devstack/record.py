"""The record that a running `crm up` leaves for `crm down`, in the directory of its run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtenant_devstack.account import server_account
from mtenant_devstack.errors import DevstackError
from mtenant_devstack.process import find
from mtenant_devstack.stack import RUN_PREFIX, run_parents
from mtenant_devstack.watcher import GRACE, POLL

NAME = "up.json"


@dataclass(frozen=True)
class Record:
    """One `crm up`: where it runs, and the process by pid and start time.

    Attributes:
        directory: the directory of the run.
        pid: the process id of `crm up`.
        started: its start time, as `Process` has it.
    """

    directory: Path
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether that very process runs, not another one that got its pid later."""
        process = find(self.pid)
        return process is not None and process.started == self.started

    def stop(self) -> None:
        """Ask it to stop, and return when the servers have ended and its directory is gone.

        Raises:
            DevstackError: it was still there after the servers' time to stop.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + 2 * GRACE
        while self.alive or self.directory.exists():
            if time.monotonic() > deadline:
                raise DevstackError(f"crm up (pid {self.pid}) has not stopped: kill it by hand")
            time.sleep(POLL)


def write(directory: Path) -> None:
    """Record this process as the one that runs in `directory`."""
    me = find(os.getpid())
    assert me is not None  # noqa: S101 -- for mypy: we run
    path = directory / NAME
    path.touch(mode=0o600)
    path.write_text(json.dumps({"pid": me.pid, "started": me.started}))


def running() -> Iterator[Record]:
    """Yield each `crm up` of this user that runs."""
    for parent in dict.fromkeys(run_parents(server_account())):
        for path in parent.glob(f"{RUN_PREFIX}*/{NAME}"):
            # Anybody may make such a file in /tmp: only our own says whom we signal.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if (
                    path.lstat().st_uid != os.geteuid()
                    or path.parent.lstat().st_uid != os.geteuid()
                ):
                    continue
                content = json.loads(path.read_text())
                record = Record(path.parent, int(content["pid"]), str(content["started"]))
                if record.alive:
                    yield record
