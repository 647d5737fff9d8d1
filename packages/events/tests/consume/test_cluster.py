"""Three servers, and a stream on each of them: the one that leads is killed, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from mtenant_devstack import binaries
from mtenant_errors import GatewayTimeout, ServiceUnavailable
from mtenant_events.event import Event
from mtenant_events.subscriptions import Subscriptions

DEADLINE = 60.0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Cluster:
    """Three servers on loopback, with JetStream, that keep their data over a kill."""

    home: Path
    ports: list[int] = field(default_factory=lambda: _free_ports(6))
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The URLs of all three."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports[:3])

    @property
    def settings(self) -> Path:
        """A configuration that lets a lame duck go as soon as the server allows it."""
        file = self.home / "nats.conf"
        file.write_text("lame_duck_grace_period: 1s\nlame_duck_duration: 30s\n")
        return file

    def start(self, number: int) -> None:
        """Start a server, or start it again."""
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.ports[3:])
        store = self.home / f"n{number}"
        store.mkdir(exist_ok=True)
        with (self.home / f"n{number}.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(
                [
                    binaries.nats().path,
                    f"--config={self.settings}",
                    "--addr=127.0.0.1",
                    f"--port={self.ports[number]}",
                    "--jetstream",
                    f"--store_dir={store}",
                    f"--name=n{number}",
                    "--cluster_name=c",
                    f"--cluster=nats://127.0.0.1:{self.ports[3 + number]}",
                    f"--routes={routes}",
                ],
                stdout=log,
                stderr=log,
            )

    def retire(self, name: str) -> int:
        """Let a server send its clients away and end (`nats-server --signal ldm`); return its number."""
        number = int(name.removeprefix("n"))
        self.processes[number].send_signal(signal.SIGUSR2)
        return number

    def kill(self, name: str) -> int:
        """Kill a server as a crash does; return its number."""
        number = int(name.removeprefix("n"))
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait(20)
        return number


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own."""
    home = Path(tempfile.mkdtemp(prefix="mtenant-cluster-"))
    made = Cluster(home)
    try:
        for number in range(3):
            made.start(number)
        yield made
    finally:
        for process in made.processes.values():
            process.kill()
            process.wait(20)
        shutil.rmtree(home, ignore_errors=True)


async def _patiently(action: Any) -> Any:
    """Do something until no election is in its way."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return await action()
        except (GatewayTimeout, ServiceUnavailable):
            assert time.monotonic() < deadline, "no leader was elected"
            await asyncio.sleep(0.1)


async def _ignore(error: Exception) -> None:
    pass  # a server that is not there yet


async def _formed(cluster: Cluster) -> None:
    """Wait until the servers have found each other, and one leads."""
    deadline = time.monotonic() + DEADLINE
    while True:
        with suppress(nats.errors.Error, OSError):
            client = await nats.connect(cluster.url.split(","), connect_timeout=1, error_cb=_ignore)
            try:
                answer = await client.request("$JS.API.INFO", b"", timeout=0.3)
                if "error" not in json.loads(answer.data):
                    return
            finally:
                await client.close()
        assert time.monotonic() < deadline, "the servers do not find each other"
        await asyncio.sleep(0.1)


async def _leader(place: Any) -> str:
    """Return who leads the stream."""

    async def ask() -> str:
        reply = await place.client.request(
            f"$JS.API.STREAM.INFO.{place.config.stream}", b"", timeout=2
        )
        return str(json.loads(reply.data)["cluster"]["leader"])

    deadline = time.monotonic() + DEADLINE
    while True:
        with suppress(nats.errors.Error, KeyError):
            return await ask()
        assert time.monotonic() < deadline, "nobody leads"
        await asyncio.sleep(0.1)


def _connected_to(bus: Any) -> str:
    return str(bus.client._server_info.get("server_name"))


async def _lose_leaders(cluster: Cluster, place_on: Any, *, events: int, kills: int) -> None:
    await _formed(cluster)
    place = place_on(cluster.url, replicas=3, publish_timeout=timedelta(seconds=1))
    seen: Counter[int] = Counter()
    order: dict[str, list[int]] = {}
    subs = Subscriptions()

    @subs.on("deal.won", name="log", ack_wait=1.0)
    async def log(event: Event[Any]) -> None:
        seen[event.data["deal"]] += 1

    @subs.on("deal.won", name="ordered", ordering="key", ack_wait=1.0)
    async def ordered(event: Event[Any]) -> None:
        known = order.setdefault(str(event.subject), [])
        if event.data["deal"] not in known:  # a second delivery is allowed, an inversion is not
            known.append(event.data["deal"])

    deadline = time.monotonic() + DEADLINE
    while True:  # the streams cannot be made before the servers have found each other
        try:
            async with place.open() as bus:
                await bus.include(subs, service="svc").ready()

                async def publish() -> None:
                    for number in range(events):
                        event = place.event(number, key=f"k{number % 5}")
                        await _patiently(lambda: bus.publish(event))  # noqa: B023 - awaited

                publishing = asyncio.create_task(publish())
                for kill in range(1, kills + 1):
                    await place.until(lambda: len(seen) >= events * kill // (kills + 1))  # noqa: B023
                    victim = cluster.kill(await _leader(place))
                    await place.until(lambda: len(seen) > events * kill // (kills + 1) + 5)  # noqa: B023
                    cluster.start(victim)
                await publishing
                await place.until(lambda: len(seen) == events)
                await place.until(lambda: sum(map(len, order.values())) == events)
                assert all(numbers == sorted(numbers) for numbers in order.values())
                return
        except (GatewayTimeout, ServiceUnavailable):
            assert not seen
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


def test_the_leader_of_a_stream_is_killed_and_no_event_is_lost(
    cluster: Cluster, place_on: Any
) -> None:
    asyncio.run(_lose_leaders(cluster, place_on, events=150, kills=1))


def test_a_lame_duck_sends_its_clients_away_and_no_event_is_lost(
    cluster: Cluster, place_on: Any
) -> None:
    """What a server does before an upgrade: it takes no new client, and ends when the old ones are gone."""
    seen: Counter[int] = Counter()
    subs = Subscriptions()

    @subs.on("deal.won", name="log", ack_wait=1.0)
    async def log(event: Event[Any]) -> None:
        seen[event.data["deal"]] += 1

    async def main() -> None:
        await _formed(cluster)
        place = place_on(cluster.url, replicas=3, publish_timeout=timedelta(seconds=1))
        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            duck = _connected_to(bus)
            published = itertools.count()

            async def publish() -> None:
                while not gone.is_set() or len(seen) < 100:
                    event = place.event(next(published))
                    await _patiently(lambda: bus.publish(event))  # noqa: B023 - awaited

            gone = asyncio.Event()
            publishing = asyncio.create_task(publish())
            await place.until(lambda: len(seen) > 20)
            process = cluster.processes[cluster.retire(duck)]
            await place.until(lambda: _connected_to(bus) != duck)
            await place.until(lambda: process.poll() is not None)
            before = len(seen)
            await place.until(lambda: len(seen) > before + 20)
            gone.set()
            await publishing
            total = next(published)
            await place.until(lambda: len(seen) == total)

    asyncio.run(main())


@pytest.mark.slow
def test_leaders_are_killed_one_after_the_other_and_no_event_is_lost(
    cluster: Cluster, place_on: Any
) -> None:
    asyncio.run(_lose_leaders(cluster, place_on, events=1500, kills=4))
