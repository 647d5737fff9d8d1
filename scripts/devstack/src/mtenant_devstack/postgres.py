"""PostgreSQL 18."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mtenant_devstack import binaries
from mtenant_devstack.ports import LOOPBACK, free_port
from mtenant_devstack.server import ENVIRONMENT, START_TIMEOUT, Server

SUPERUSER = "postgres"


class Postgres(Server):
    """PostgreSQL 18 with one superuser, `postgres`, and no password.

    UTF-8, the builtin C.UTF-8 locale, time zone UTC. Extensions: plpgsql and vector.
    """

    name = "postgres"
    title = "PostgreSQL"
    variable = "DATABASE_URL"
    stop_signal: ClassVar[int] = signal.SIGINT  # "fast shutdown", manual section 18.5

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, as its superuser."""
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/postgres"

    @property
    def _last_signal(self) -> int:
        # "Immediate shutdown" writes no checkpoint: nobody will read this data again.
        return self.stop_signal if self._place.data else signal.SIGQUIT

    def _find_program(self) -> Path:
        place = self._place
        return binaries.runnable(binaries.postgres(), place.account, place.client.directory)

    def _choose_port(self) -> int:
        return free_port()

    def _prepare(self) -> Path:
        home = super()._prepare()
        if self._place.data is None:
            self._fill(home)
        return home

    def _fill(self, home: Path) -> None:
        assert self._program is not None  # noqa: S101 -- for mypy: _prepare has found it
        self._place.client.run(
            [
                self._program.with_name("initdb"),
                f"--pgdata={home / 'data'}",
                f"--username={SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *([] if self._place.data else ["--no-sync"]),
            ],
            seconds=START_TIMEOUT,
            cwd=home,
            env=ENVIRONMENT,
            log=self._place.run / "initdb.log",
            owner=self._place.account,
        )

    def _command(self, home: Path, port: int) -> Sequence[str | Path]:
        assert self._program is not None  # noqa: S101 -- for mypy: _prepare has found it
        on = "on" if self._place.mode == "durable" else "off"
        settings = {
            "listen_addresses": LOOPBACK,
            "port": port,
            "unix_socket_directories": "",  # a socket's path may be too long, and nobody needs it
            "dynamic_shared_memory_type": "mmap",  # files in the data, none in /dev/shm after a kill
            "fsync": on,
            "full_page_writes": on,
            "synchronous_commit": on,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._program, "-D", home / "data", *options]

    def _ready(self, home: Path, port: int, pid: int) -> int | None:
        try:
            lines = (home / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        # The first line is the pid, the eighth the status (miscadmin.h); the file of a killed
        # server stays until the next one overwrites it.
        ready = len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return port if ready else None
