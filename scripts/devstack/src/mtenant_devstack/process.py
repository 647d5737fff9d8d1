"""The processes of this machine, told apart by pid and start time."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One running process. A pid comes again, a pid with its start time does not.

    Attributes:
        pid: the process id.
        parent: the process id of its parent.
        started: when it started, in a form that can only be compared: ticks since boot on Linux,
            local time to the second elsewhere.
    """

    pid: int
    parent: int = field(compare=False)  # an orphan gets a new parent and stays who it is
    started: str


def processes() -> dict[int, Process]:
    """Return every process that has not ended, by pid. A zombie has ended."""
    if not (PROC / "self" / "stat").exists():
        return _from_ps()
    found = (_from_proc(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def find(pid: int) -> Process | None:
    """Return the process with this pid, None if there is none or it has ended."""
    return _from_proc(pid) if (PROC / "self" / "stat").exists() else _from_ps().get(pid)


def descendants(pid: int) -> list[Process]:
    """Return the children of `pid`, their children, and so on."""
    table = processes()
    family = {pid}
    while grown := {p.pid for p in table.values() if p.parent in family} - family:
        family |= grown
    return [table[member] for member in sorted(family - {pid})]


def _from_proc(pid: int) -> Process | None:
    with contextlib.suppress(OSError):
        # proc_pid_stat(5): the second field is the program's name and may hold anything, so count
        # from the last parenthesis: state 3, ppid 4, starttime 22.
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] not in "ZX":
            return Process(pid, parent=int(fields[1]), started=fields[19])
    return None


def _from_ps() -> dict[int, Process]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="],  # noqa: S607 -- ps has no one address
        env={"PATH": os.defpath, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    table = {}
    for line in listing.stdout.splitlines():
        pid, parent, state, started = line.split(maxsplit=3)
        if not state.startswith("Z"):
            table[int(pid)] = Process(int(pid), int(parent), started)
    return table
