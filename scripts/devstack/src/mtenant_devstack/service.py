"""A service of the CRM: a process of its own, started and stopped like a server."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mtenant_devstack.ports import LOOPBACK, free_port
from mtenant_devstack.server import Place, Server

PROBE_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True)
class Program:
    """A service as a program: `python -m auth_service`.

    Attributes:
        name: its distribution, `auth-service`.
        port: where it listens, if nobody else does.
    """

    name: str
    port: int

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that other services read its URL from."""
        return f"{self.module.upper()}_URL"

    @property
    def installed(self) -> bool:
        """Whether it can be run here; nothing of it is imported."""
        return find_spec(self.module) is not None

    def free_port(self) -> int:
        """Return its port, or another one that is free if somebody has it."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, self.port))
            except OSError:
                return free_port()
        return self.port

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs it in this environment."""
        return [sys.executable, "-m", self.module, *arguments]


PROGRAMS = (
    Program("auth-service", 8080),
    Program("tenant-service", 8081),
    Program("contact-service", 8082),
    Program("deal-service", 8083),
    Program("communication-service", 8084),
)
"""Every service of the CRM, each after those that it cannot do without."""


def installed() -> list[Program]:
    """Return the services that are there."""
    return [program for program in PROGRAMS if program.installed]


class Service(Server):
    """One service; it runs as the caller, not as the servers' account.

    Args:
        place: where its log goes.
        program: what runs.
        environment: its settings, but for PORT.
        port: where it listens.
        gateway: the port where it is called, if that is another one.
        number: which of several processes of the program it is.
    """

    def __init__(
        self,
        place: Place,
        program: Program,
        environment: Mapping[str, str],
        port: int,
        *,
        gateway: int | None = None,
        number: int = 1,
    ) -> None:
        super().__init__(place, port)
        self.name = self.title = program.name if number == 1 else f"{program.name}-{number}"
        self._gateway = gateway
        self.variable = program.variable
        self._what = program
        self._settings = environment

    @property
    def url(self) -> str:
        """The URL that its paths are appended to."""
        return f"http://{LOOPBACK}:{self._gateway or self.port}"

    def _find_program(self) -> Path:
        return Path(sys.executable)

    def _choose_port(self) -> int:
        return self._what.free_port()

    def _environment(self, port: int) -> Mapping[str, str]:
        return {**self._settings, "PORT": str(port)}

    def _command(self, home: Path, port: int) -> Sequence[str | Path]:
        return self._what.command()

    def _ready(self, home: Path, port: int, pid: int) -> int | None:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ready", timeout=PROBE_TIMEOUT):
                return port
        except (OSError, urllib.error.URLError):  # nobody listens yet, or 503: it is not ready
            return None


def plain_environment() -> dict[str, str]:
    """Return what a process needs of this one's environment, without anybody's settings."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}
