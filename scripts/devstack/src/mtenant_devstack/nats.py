"""NATS with JetStream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mtenant_devstack import binaries
from mtenant_devstack.ports import LOOPBACK
from mtenant_devstack.server import Server

ANY_PORT = -1  # nats-server's own word for "choose one"


class Nats(Server):
    """One nats-server with JetStream, without accounts or passwords."""

    name = "nats"
    title = "NATS"
    variable = "NATS_URL"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"nats://{LOOPBACK}:{self.port}"

    def _find_program(self) -> Path:
        place = self._place
        return binaries.runnable(binaries.nats(), place.account, place.client.directory)

    def _choose_port(self) -> int:
        return ANY_PORT

    def _command(self, home: Path, port: int) -> Sequence[str | Path]:
        assert self._program is not None  # noqa: S101 -- for mypy: _prepare has found it
        for stale in home.glob("*.ports"):  # of a killed server, whose pid may come again
            stale.unlink()
        return [
            self._program,
            f"--addr={LOOPBACK}",
            f"--port={port}",
            "--jetstream",
            f"--store_dir={home}",
            f"--ports_file_dir={home}",
        ]

    def _ready(self, home: Path, port: int, pid: int) -> int | None:
        try:
            ports = json.loads((home / f"{binaries.nats().path.name}_{pid}.ports").read_text())
        except (FileNotFoundError, ValueError):  # not there yet, or not yet written to its end
            return None
        return int(ports["nats"][0].rpartition(":")[2])
