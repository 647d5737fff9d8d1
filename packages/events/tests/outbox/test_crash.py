"""Nothing is lost and nothing happens twice while every process is killed in turn (kill -9)."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nats.js.api import ConsumerConfig

from mtenant_devstack import Server, Stack

PROGRAM = Path(__file__).with_name("crash_program.py")
TENANTS = ("acme", "blue", "cyan")
WRITERS = 6
MEAN_WAIT, MEAN_ABSENCE = 0.4, 0.15  # seconds between two kills, and until it is started again
DEADLINE = 240.0  # seconds; only a test that fails takes so long


@dataclass
class Process:
    """A process of ours that is killed and started again."""

    name: str
    environ: dict[str, str]
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, str(PROGRAM), self.name],
            env=os.environ | self.environ,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait()


@dataclass
class Writing:
    """What the writers did; what was committed is asked of the database in the end."""

    place: Any
    subject: str
    chance: random.Random
    left: int
    pause: float
    rolled_back: set[int] = field(default_factory=set)
    numbers: int = 0

    async def work(self, writer: int) -> None:
        """Make changes of keys that nobody else changes, each with its event."""
        tenant = TENANTS[writer % len(TENANTS)]
        while self.left > 0:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self.place.app, connect_timeout=2
                ) as conn:
                    while self.left > 0:
                        self.left -= 1
                        self.numbers += 1
                        await self._change(conn, tenant, f"{writer}-{self.chance.randrange(5)}")
                        await asyncio.sleep(self.chance.uniform(0, 2 * self.pause))
            except psycopg.Error:
                await asyncio.sleep(0.05)  # the server is away; what it did with COMMIT is unknown

    async def _change(self, conn: psycopg.AsyncConnection, tenant: str, key: str) -> None:
        number = self.numbers
        await conn.execute("select set_config('mtenant.tenant_id', %s, true)", [tenant])
        await conn.execute(
            f"insert into tenant_{tenant}.changes values (%s, %s)".encode(), [number, key]
        )
        await conn.execute(
            "insert into eventing.outbox (tenant, key, subject, headers, body)"
            " values (%s, %s, %s, jsonb_build_object('Nats-Msg-Id', %s::text), %s)",
            [tenant, key, f"{self.subject}.{tenant}.{key}", f"{tenant}:{number}", b"%d" % number],
        )
        if self.chance.random() < 0.1:
            self.rolled_back.add(number)
            await conn.rollback()
        else:
            await conn.commit()


@pytest.mark.parametrize(
    ("transactions", "kills"), [(1_500, 8), pytest.param(10_000, 60, marks=pytest.mark.slow)]
)
def test_every_committed_change_has_one_effect_and_no_other_has_any(
    place_on: Any, stream_on: Any, *, transactions: int, kills: int
) -> None:
    chance = random.Random(20_261_121)

    async def main(servers: Stack) -> None:
        place, stream = place_on(servers.postgres.url), stream_on(servers.nats.url)
        for tenant in TENANTS:
            schema = place.tenant(tenant)
            place.run(
                f"create table {schema}.changes (n int primary key, key text)",
                f"grant all on {schema}.changes to {place.role}",
            )
        async with stream.open() as carrier:
            config = ConsumerConfig(durable_name="effects", ack_wait=2, max_deliver=-1)
            await carrier.client.jetstream().add_consumer(stream.name, config)
        environ = {"DATABASE_URL": place.app, "NATS_URL": stream.url, "STREAM": stream.name}
        processes = [Process(name, environ) for name in ("relay", "consumer")]
        for process in processes:
            process.start()
        try:
            # They write for as long as the others are killed.
            pause = WRITERS * kills * (MEAN_WAIT + MEAN_ABSENCE) / transactions
            writing = Writing(place, stream.name, chance, transactions, pause)
            writers = [asyncio.create_task(writing.work(n)) for n in range(WRITERS)]
            victims: list[Process | Server] = [*processes, servers.nats, servers.postgres]
            for n in range(kills):
                await asyncio.sleep(chance.uniform(0, 2 * MEAN_WAIT))
                # Each of them is killed, however few the kills are.
                victim = victims[n % 4] if n < 8 else chance.choice(victims)
                await asyncio.to_thread(victim.kill)
                await asyncio.sleep(chance.uniform(0, 2 * MEAN_ABSENCE))
                await asyncio.to_thread(victim.start)
            await asyncio.gather(*writers)
            async with asyncio.timeout(DEADLINE):
                while _changes(place) != _effects(place) or place.waiting:
                    await asyncio.sleep(0.1)
        finally:
            for process in processes:
                process.kill()

        changes, effects = _changes(place), _effects(place)
        assert effects == changes  # each once: they are lists
        assert not writing.rolled_back & {number for _, number in changes}
        assert len(changes) > transactions / 2
        assert await _inversions(stream) == []

    with Stack(["postgres", "nats"], mode="durable") as servers:
        asyncio.run(main(servers))


def _changes(place: Any) -> list[tuple[str, int]]:
    return _numbers(place, "changes")


def _effects(place: Any) -> list[tuple[str, int]]:
    return _numbers(place, "effects")


def _numbers(place: Any, table: str) -> list[tuple[str, int]]:
    return sorted(
        (tenant, number)
        for tenant in TENANTS
        for (number,) in place.run(f"select n from tenant_{tenant}.{table}")
    )


async def _inversions(stream: Any) -> list[int]:
    newest: dict[str, int] = defaultdict(int)
    seen: set[int] = set()
    wrong = []
    for message in await stream.messages():
        number = int(message.data)
        if number in seen:
            continue  # beyond the duplicate window; its effect is the inbox's matter
        seen.add(number)
        if number <= newest[message.subject]:
            wrong.append(number)
        newest[message.subject] = number
    return wrong
