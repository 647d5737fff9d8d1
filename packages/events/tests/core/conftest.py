"""What the tests of the bus share: settings of their own on the test server, and servers to kill."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mtenant_config import Secret
from mtenant_devstack import binaries
from mtenant_events import Event, EventsConfig, event_type

DEADLINE = 30.0  # seconds; only a test that fails waits so long
_numbers = itertools.count()


@event_type("deal.closed_won")
@dataclass(frozen=True)
class DealClosedWon:
    """The payload of most tests."""

    deal_id: str
    amount: int


@pytest.fixture(scope="session")
def make_event() -> Callable[..., Event[DealClosedWon]]:
    """Make an event; arguments stand in place of its usual attributes."""

    def make(**others: Any) -> Event[DealClosedWon]:
        usual = {
            "type": "deal.closed_won",
            "source": "/tests",
            "tenant": "acme",
            "data": DealClosedWon("d7", 900),
        }
        return Event(**{**usual, **others})

    return make


def make_config(url: str, **others: Any) -> EventsConfig:
    """Return settings with a prefix and streams that no other test has."""
    name = f"T{os.getpid()}_{next(_numbers)}"
    return EventsConfig(
        **{
            "url": Secret(url),
            "prefix": name,
            "stream": f"{name}_EVENTS",
            "dead_letter_stream": f"{name}_DLQ",
            **others,
        }
    )


@pytest.fixture(scope="session")
def config_on() -> Callable[..., EventsConfig]:
    """Make settings for a server, named by its URL."""
    return make_config


@pytest.fixture
def config(nats_url: str) -> EventsConfig:
    """Settings of its own on the test server."""
    return make_config(nats_url)


@dataclass
class NatsServer:
    """A nats-server of one test, which may be killed."""

    home: Path
    port: int
    options: Sequence[str] = ()
    scheme: str = "nats"
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(binaries.nats().path), "--addr=127.0.0.1", f"--port={self.port}"]
        command += ["--jetstream", f"--store_dir={self.home}", *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + DEADLINE
        while True:
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
            ):
                if connection.recv(4) == b"INFO":
                    return
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGSTOP:
            # One of its threads may still be at work when the call returns.
            os.waitpid(self.process.pid, os.WUNTRACED)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE)
            self.process = None


@pytest.fixture
def servers() -> Iterator[Callable[..., NatsServer]]:
    """Start servers, each with a folder of its own; they end with the test."""
    started: list[NatsServer] = []

    def start(*options: str, scheme: str = "nats") -> NatsServer:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        server = NatsServer(Path(tempfile.mkdtemp(prefix="mtenant-nats-")), port, options, scheme)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()
        shutil.rmtree(server.home, ignore_errors=True)


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object]], Any]:
    """Wait until a predicate holds, and fail if it does not in time."""

    async def wait(predicate: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not predicate():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)

    return wait
