"""The directory that keeps the servers' data beyond a run, and the lock on it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mtenant_devstack.account import Account
from mtenant_devstack.errors import DevstackError
from mtenant_devstack.watcher import POLL

LOCK_WAIT = 2.0  # seconds; the servers of a program that was just killed are about to end


def claim(data: Path, account: Account | None) -> int:
    """Make the directory if need be, and lock it for one stack.

    PostgreSQL refuses data that another server has open. NATS and Valkey do not: two of them write
    the same files, and what they acknowledged is lost.

    Returns:
        A descriptor. The lock is held until every copy of it is closed (manual page flock(2)), so
        it is for the watcher, which outlives a killed owner until the servers have ended.

    Raises:
        DevstackError: there is no such directory to be had, the servers cannot reach it, or another
            stack has it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise DevstackError(
            f"{data} cannot be used for data ({exc.strerror}): choose another directory"
        ) from exc
    try:
        _check_reach(data, account)
        _lock(lock, data)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _check_reach(data: Path, account: Account | None) -> None:
    if account is not None and not account.reaches(data / "x"):
        raise DevstackError(
            f"{data} or a directory above it is closed to the account {account.name}, which runs"
            " the servers because PostgreSQL refuses root: choose another, or chmod o+x"
        )


def _lock(descriptor: int, data: Path) -> None:
    import fcntl  # noqa: PLC0415 -- there is none on Windows, where this module is imported too

    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"{data} is in use by another stack: stop that one (`crm down` stops every"
                    " `crm up` of yours), or choose another directory"
                ) from None
            time.sleep(POLL)
        else:
            return
