"""Valkey, which speaks the Redis protocol."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from mtenant_devstack import binaries
from mtenant_devstack.ports import LOOPBACK, free_port
from mtenant_devstack.server import Server

PROBE_TIMEOUT = 1.0  # seconds


class Valkey(Server):
    """One valkey-server without a password; in durable mode it appends to a file at each write."""

    name = "valkey"
    title = "Valkey"
    variable = "REDIS_URL"

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _find_program(self) -> Path:
        place = self._place
        return binaries.runnable(binaries.valkey(), place.account, place.client.directory)

    def _choose_port(self) -> int:
        return free_port()

    def _command(self, home: Path, port: int) -> Sequence[str | Path]:
        assert self._program is not None  # noqa: S101 -- for mypy: _prepare has found it
        append = "yes" if self._place.mode == "durable" else "no"
        return [
            self._program,
            *("--bind", LOOPBACK),
            *("--port", str(port)),
            *("--dir", home),
            *("--save", ""),
            *("--appendonly", append),
            *("--appendfsync", "always"),
        ]

    def _ready(self, home: Path, port: int, pid: int) -> int | None:
        # Ask for the pid: who answers on a port that another program took is not our server.
        with (
            contextlib.suppress(OSError),
            socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT) as probe,
        ):
            probe.sendall(b"INFO server\r\n")
            if f"process_id:{pid}\r\n".encode() in probe.recv(65536):
                return port
        return None
