"""The primary dies, a replica takes its place, and programs find that out by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mtenant_config import Secret
from mtenant_database import CommitUnknown, Database, DatabaseConfig, ReadOnlyDatabase
from mtenant_database.routing import ReadWriteRouter
from mtenant_errors import ServiceUnavailable

if TYPE_CHECKING:
    from conftest import Node

pytestmark = pytest.mark.anyio

Eventually = Callable[[Callable[[], object]], Any]
Nodes = tuple["Node", "Node", "Node"]

WRITERS = 4
AFTERWARDS = 20  # confirmed writes of each writer on the new primary
DEADLINE = 30.0  # seconds; only a test that fails waits so long


@pytest.fixture
def nodes(new_node: Callable[[], Node]) -> Nodes:
    """A primary, the replica that will take its place, and one that looks on."""
    old, new, third = new_node(), new_node(), new_node()
    old.initialise()
    old.start()
    new.copy_of(old, "successor")
    new.start()
    third.copy_of(old, "onlooker")
    third.start()
    old.run(
        "create role app login",
        "grant pg_read_all_stats to app",
        *(
            statement
            for number in range(WRITERS)
            for statement in (
                f"create schema tenant_t{number}",
                f"create table tenant_t{number}.marks (n int not null)",
                f"grant usage on schema tenant_t{number} to app",
                f"grant all on tenant_t{number}.marks to app",
            )
        ),
    )
    for replica in (new, third):
        replica.catch_up_with(old)
    return old, new, third


@asynccontextmanager
async def routed(nodes: Nodes, **options: Any) -> AsyncIterator[ReadWriteRouter]:
    old, new, third = nodes
    everyone = f"127.0.0.1:{old.port},127.0.0.1:{new.port}"
    url = f"postgresql://app@{everyone}/postgres?target_session_attrs=read-write"
    replicas = [_database(f"postgresql://app@127.0.0.1:{n.port}/postgres") for n in (new, third)]
    async with ReadWriteRouter(_database(url), replicas, interval=0.02, **options) as router:
        yield router


def _database(url: str) -> Database:
    config = DatabaseConfig(
        url=Secret(url),
        max_idle_conns=1,
        max_open_conns=WRITERS,
        max_retries=0,
        connect_timeout=timedelta(seconds=2),
    )
    return Database(config)


class Writer:
    """Writes numbers for one tenant, each once, and looks after each whether it can read it."""

    def __init__(self, router: ReadWriteRouter, tenant: str) -> None:
        self.router = router
        self.tenant = router.tenant(tenant)
        self.confirmed: set[int] = set()
        self.refused: set[int] = set()
        self.missed: list[int] = []
        self.reads = 0
        self.on_replicas = 0
        self.stopping = False

    async def work(self) -> None:
        for number in itertools.count():
            if self.stopping:
                return
            try:
                await self._write(number)
            except CommitUnknown:
                continue
            except ServiceUnavailable:
                self.refused.add(number)
                await asyncio.sleep(0.01)
                continue
            self.confirmed.add(number)
            if number % 10 == 0:
                await self._let_a_replica_catch_up()
            await self._read(number)

    async def _write(self, number: int) -> None:
        if number % 2:
            await self.tenant.execute("insert into marks values (%s)", [number])
        else:
            async with self.tenant.transaction() as tx:
                await tx.execute("insert into marks values (%s)", [number])

    async def _let_a_replica_catch_up(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while self.router.engine_for(self.tenant.id, 0) is None:
                    await asyncio.sleep(0.005)

    async def _read(self, number: int) -> None:
        try:
            found, replica = await self.tenant.fetch_one(
                "select exists (select from marks where n = %s), pg_is_in_recovery()", [number]
            )
        except ServiceUnavailable:
            return
        self.reads += 1
        self.on_replicas += replica
        if not found:
            self.missed.append(number)


async def test_a_promotion_under_load_loses_no_write_and_shows_no_stale_read(
    nodes: Nodes, eventually: Eventually
) -> None:
    old, new, third = nodes
    old.run("alter system set synchronous_standby_names = 'successor'", "select pg_reload_conf()")
    async with routed(nodes) as router:
        writers = [Writer(router, f"t{number}") for number in range(WRITERS)]
        tasks = [asyncio.create_task(writer.work()) for writer in writers]
        await eventually(lambda: all(len(w.confirmed) > AFTERWARDS for w in writers))

        await asyncio.to_thread(old.kill)
        before = [len(writer.confirmed) for writer in writers]
        assert sum(writer.on_replicas for writer in writers) > 0
        await asyncio.to_thread(new.promote)
        await asyncio.to_thread(third.follow, new)
        await eventually(
            lambda: all(
                len(w.confirmed) > count + AFTERWARDS
                for w, count in zip(writers, before, strict=True)
            )
        )
        for writer in writers:
            writer.stopping = True
        await asyncio.gather(*tasks)

        # Who follows the new primary reads again; who has become it is left out.
        await eventually(lambda: router.engine_for("nobody", 0) is not None)
        assert router.engine_for("nobody", 0) is router.replicas[1]._engine
        assert await router.tenant("t0").fetch_value("select current_setting('port')::int") in {
            new.port,
            third.port,
        }

    for number, writer in enumerate(writers):
        there = [n for (n,) in new.run(f"select n from tenant_t{number}.marks")]
        assert len(there) == len(set(there))
        assert writer.confirmed <= set(there)
        assert not writer.refused & set(there)
        assert writer.missed == []
        assert writer.reads > 0


async def test_a_replica_that_was_ahead_of_the_new_primary_is_never_read(
    nodes: Nodes, eventually: Eventually
) -> None:
    """What it has beyond the fork was lost; its position alone would say that it has everything."""
    old, new, third = nodes
    new.stop()
    old.run(*["insert into tenant_t0.marks select generate_series(1, 1000)"] * 20)
    third.catch_up_with(old)
    async with routed(nodes) as router:
        acme = router.tenant("t0")
        await eventually(lambda: router.engine_for("t0", 0) is router.replicas[1]._engine)
        assert await acme.fetch_value("select count(*) from marks") == 20_000

        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(new.start)
        await asyncio.to_thread(new.promote)
        await eventually(lambda: router._course.latest and router._course.latest.timeline == 2)
        await eventually(lambda: router._replicas[1].sight is not None)

        assert await acme.fetch_value("select count(*) from marks") == 0
        await acme.execute("insert into marks values (1)")
        sight = router._replicas[1].sight
        token = await acme.token()
        assert token is not None
        assert sight is not None
        assert sight.position > router._marks.of("t0")  # type: ignore[operator]  # it is known
        assert await acme.fetch_value("select count(*) from marks") == 1
        assert "timeline" in (await router.health_check()).replicas[1].reason


async def test_reads_go_on_while_there_is_no_primary(nodes: Nodes, eventually: Eventually) -> None:
    old, _, _ = nodes
    async with routed(nodes) as router:
        await eventually(lambda: router.engine_for("t1", 0) is not None)
        await asyncio.to_thread(old.kill)
        for _ in range(20):
            assert await router.tenant("t1").fetch_value("select count(*) from marks") == 0
        with pytest.raises(ServiceUnavailable):
            await router.tenant("t1").execute("insert into marks values (1)")
        assert not (await router.health_check()).healthy


async def test_connections_to_a_primary_that_became_a_replica_are_made_again(
    nodes: Nodes, eventually: Eventually
) -> None:
    """As behind a proxy or a name that leads elsewhere later: nothing breaks, but writes fail."""
    old, new, _ = nodes
    async with routed(nodes) as router:
        primary = router.primary
        await eventually(lambda: router._course.latest is not None)
        # The pool's URL is for any server now, and the one that answers first is a replica.
        primary.pool.conninfo = f"postgresql://app@127.0.0.1:{new.port}/postgres"
        await primary.pool.drain()
        async with primary.connection() as conn:
            assert conn.info.port == new.port
        primary.pool.conninfo = f"postgresql://app@127.0.0.1:{old.port}/postgres"
        await eventually(lambda: router._drained > 0)

        async def writes_home() -> bool:
            with contextlib.suppress(ReadOnlyDatabase):
                await router.tenant("t2").execute("insert into marks values (1)")
                return {conn.info.port for conn in primary.pool._pool} == {old.port}
            return False

        # One that was made between the two URLs leads to the replica yet; it goes, too.
        async with asyncio.timeout(DEADLINE):
            while not await writes_home():
                await asyncio.sleep(0.01)
