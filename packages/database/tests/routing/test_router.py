"""A router between a primary and a streaming replica, which are real and part for real."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mtenant_config import Secret
from mtenant_database import (
    CommitUnknown,
    Database,
    DatabaseConfig,
    StatementFault,
    Tenant,
    TenantNotFound,
    engine,
)
from mtenant_database.errors import ReadOnlyDatabase, TransactionOpen
from mtenant_database.position import InvalidPosition
from mtenant_database.query import Table, insert, select
from mtenant_database.routing import ReadWriteRouter
from mtenant_database.testing import tenant_leak_fuzz

if TYPE_CHECKING:
    from conftest import Node, Proxy

pytestmark = pytest.mark.anyio

CONTACTS = Table("contacts")

Eventually = Callable[[Callable[[], object]], Any]
_numbers = itertools.count()


def make_tenant(node: Node) -> str:
    tenant = f"r{next(_numbers)}"
    schema = f"tenant_{tenant}"
    node.run(
        f"create schema {schema}",
        f"grant usage on schema {schema} to app",
        f"create table {schema}.contacts (id int generated always as identity, name text not null)",
        f"grant all on {schema}.contacts to app",
        f"create table {schema}.servers (n int)",
        f"create function {schema}.next_one() returns int language sql"
        f" as $$ insert into {schema}.servers values (1) returning n $$",
        f"grant all on {schema}.servers to app",
    )
    return tenant


def database(node: Node, **settings: Any) -> Database:
    settings = {"max_idle_conns": 1, "max_open_conns": 4, "max_retries": 0} | settings
    url = settings.pop("url", node.url.replace("postgres@", "app@"))
    return Database(DatabaseConfig(url=Secret(url), **settings))


@asynccontextmanager
async def routed(
    primary: Node, *replicas: Node, eventually: Eventually, **options: Any
) -> AsyncIterator[ReadWriteRouter]:
    options = {"interval": 0.02} | options
    others = [database(node) for node in replicas]
    async with ReadWriteRouter(database(primary), others, **options) as router:
        await eventually(lambda: _all_usable(router))
        yield router


def _all_usable(router: ReadWriteRouter) -> bool:
    return all(not r.trouble(router._course, router.max_lag) for r in router._replicas)


def in_recovery() -> str:
    return "select pg_is_in_recovery()"


@pytest.fixture
def tenant(primary: Node, replica: Node) -> str:
    made = make_tenant(primary)
    replica.catch_up_with(primary)
    return made


async def test_reads_go_to_the_replica_and_writes_to_the_primary(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        assert isinstance(acme, Tenant)
        assert acme.id == tenant

        assert await acme.fetch_value(in_recovery()) is True
        async with acme.stream(in_recovery()) as rows:
            assert [row async for row in rows] == [(True,)]
        async with acme.transaction(read_only=True) as tx:
            assert await tx.fetch_value(in_recovery()) is False
        made = await acme.fetch_one("insert into contacts (name) values ('Ada') returning name")
        assert made == ("Ada",)
        assert (await acme.execute("update contacts set name = 'Eve'")).rows_affected == 1
        assert await router.primary.tenant(tenant).fetch_value(in_recovery()) is False


async def test_a_tenant_reads_what_it_wrote_however_far_the_replica_is(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    other = make_tenant(primary)
    replica.catch_up_with(primary)
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        replica.pause()
        try:
            await acme.execute("insert into contacts (name) values ('one')")
            assert await acme.fetch_all("select name from contacts") == [("one",)]
            async with acme.transaction() as tx:
                await tx.execute("insert into contacts (name) values ('two')")
            assert await acme.fetch_value("select count(*) from contacts") == 2
            await acme.run(_insert, "three")
            assert await acme.fetch_value("select count(*) from contacts") == 3
            # Of somebody else's tenant the replica has everything.
            assert await router.tenant(other).fetch_value(in_recovery()) is True
        finally:
            replica.resume()

        replica.catch_up_with(primary)
        await eventually(lambda: router.engine_for(tenant, 0) is not None)
        assert await acme.fetch_value(in_recovery()) is True
        assert await acme.fetch_value("select count(*) from contacts") == 3


async def _insert(tx: Any, name: str) -> None:
    await tx.execute("insert into contacts (name) values (%s)", [name])


async def _insert_and_fail(tx: Any) -> None:
    await _insert(tx, "never")
    raise ZeroDivisionError


async def test_a_token_carries_a_write_to_another_process(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with (
        routed(primary, replica, eventually=eventually) as here,
        routed(primary, replica, eventually=eventually) as there,
    ):
        replica.pause()
        try:
            assert await here.tenant(tenant).token() is None
            await here.tenant(tenant).execute("insert into contacts (name) values ('Ada')")
            token = await here.tenant(tenant).token()

            assert await there.tenant(tenant).fetch_all("select name from contacts") == []
            informed = there.tenant(tenant, after=token)
            assert await informed.fetch_all("select name from contacts") == [("Ada",)]
            assert await informed.token() == token
        finally:
            replica.resume()
        for wrong in ("", "x", "1/2/3", "16/B374D848; --"):
            with pytest.raises(InvalidPosition):
                there.tenant(tenant, after=wrong)
        forged = there.tenant(tenant, after="FFFFFFFF/FFFFFFFF")
        assert await forged.fetch_value(in_recovery()) is False


async def test_a_transaction_that_wrote_nothing_leaves_no_mark(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        async with acme.transaction() as tx:
            await tx.fetch_all("select 1")
        with pytest.raises(ZeroDivisionError):
            await acme.run(_insert_and_fail)
        assert await acme.token() is None

        async with acme.transaction() as tx:
            await tx.fetch_all("select next_one()")
        assert await acme.token() is not None


async def test_a_read_that_writes_is_the_primarys_from_its_first_time_on(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        assert await acme.fetch_value("select next_one()") == 1
        assert await acme.fetch_value("select next_one()") == 1
        assert await acme.fetch_value("select count(*) from servers") == 2
        replica_of_router = router.replicas[0]
        with pytest.raises(ReadOnlyDatabase):
            await replica_of_router.tenant(tenant).fetch_value("select next_one()")


async def test_what_the_builder_makes_is_routed_too(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        made = insert(CONTACTS, {"name": "Ada"}).returning(CONTACTS["name"])
        assert await made.fetch_all(acme) == [("Ada",)]
        assert await acme.token() is not None
        assert await select(CONTACTS["name"], from_=CONTACTS).fetch_all(acme) == [("Ada",)]


async def test_the_primary_has_the_last_word_where_a_replica_is_behind(
    primary: Node, replica: Node, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        replica.pause()
        try:
            fresh = make_tenant(primary)
            assert await router.tenant(fresh).fetch_all("select * from contacts") == []
            async with router.tenant(fresh).stream("select * from contacts") as rows:
                assert [row async for row in rows] == []
        finally:
            replica.resume()
        with pytest.raises(TenantNotFound):
            await router.tenant("nobody").fetch_all("select 1")
        with pytest.raises(StatementFault):
            await router.tenant(fresh).fetch_all("select nonsense")


async def test_a_replica_that_lags_too_far_is_left_out_until_it_has_caught_up(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually, max_lag=0.3) as router:
        acme = router.tenant(tenant)
        replica.pause()
        try:
            primary.run(f"insert into tenant_{tenant}.contacts (name) values ('elsewhere')")
            await eventually(lambda: router.engine_for(tenant, 0) is None)
            assert await acme.fetch_all("select name from contacts") == [("elsewhere",)]
            status = (await router.health_check()).replicas[0]
            assert not status.usable
            assert "lags" in status.reason
            assert status.health.healthy
        finally:
            replica.resume()
        async with asyncio.timeout(30):  # a machine that is busy makes a lag of its own
            while not await acme.fetch_value(in_recovery()):
                await asyncio.sleep(0.01)


async def test_the_least_loaded_replica_answers(
    primary: Node, replica: Node, new_replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, new_replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        first, second = router.replicas
        where = "select current_setting('port')::int"
        seen = {await acme.fetch_value(where) for _ in range(6)}
        assert seen == {replica.port, new_replica.port}

        async with _busy(first):
            assert {await acme.fetch_value(where) for _ in range(6)} == {new_replica.port}
        async with _busy(second):
            assert {await acme.fetch_value(where) for _ in range(6)} == {replica.port}


@asynccontextmanager
async def _busy(database: Database) -> AsyncIterator[None]:
    """Have three connections out, each by a task of its own; a look at the server takes one at most."""
    enough, borrowed = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal borrowed
        async with database.connection():
            borrowed += 1
            await enough.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(hold())
        while borrowed < 3:
            await asyncio.sleep(0.001)
        yield
        enough.set()


async def test_a_replica_that_ends_costs_no_answer_and_comes_back_by_itself(
    primary: Node, new_replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, new_replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        answers: list[bool] = []
        ended = asyncio.Event()

        async def read() -> None:
            while not ended.is_set():
                answers.append(await acme.fetch_value(in_recovery()))

        readers = [asyncio.create_task(read()) for _ in range(3)]
        await eventually(lambda: True in answers)
        await asyncio.to_thread(new_replica.kill)
        await eventually(lambda: not answers[-1])
        await asyncio.to_thread(new_replica.start)
        await eventually(lambda: answers[-1])
        ended.set()
        await asyncio.gather(*readers)


async def test_a_program_starts_without_its_replica(
    primary: Node, new_replica: Node, tenant: str, eventually: Eventually
) -> None:
    new_replica.stop()
    async with ReadWriteRouter(database(primary), [database(new_replica)], interval=0.02) as router:
        acme = router.tenant(tenant)
        assert await acme.fetch_value(in_recovery()) is False
        status = await router.health_check()
        assert status.healthy
        assert not status.replicas[0].usable
        await asyncio.to_thread(new_replica.start)
        await eventually(lambda: router.engine_for(tenant, 0) is not None)
        assert await acme.fetch_value(in_recovery()) is True
        told = (await router.health_check()).to_dict()
        assert told["replicas"][0]["usable"] is True


async def test_a_server_that_is_no_replica_of_the_primary_is_never_read(
    primary: Node, new_node: Callable[[], Node], tenant: str, eventually: Eventually
) -> None:
    stranger = new_node()
    stranger.initialise()
    stranger.start()
    stranger.run("create role app login")
    for other, word in ((stranger, "another system identifier"), (primary, "takes writes")):
        async with ReadWriteRouter(database(primary), [database(other)], interval=0.02) as router:
            await eventually(lambda: router._replicas[0].sight is not None)
            await eventually(lambda: router._course.latest is not None)
            assert router.engine_for(tenant, 0) is None
            assert word in (await router.health_check()).replicas[0].reason
    stranger.stop()


async def test_a_handle_beside_a_transaction_is_refused_as_of_a_database(
    primary: Node, replica: Node, tenant: str, eventually: Eventually
) -> None:
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        async with acme.transaction() as tx:
            await tx.fetch_all("select 1")
            with pytest.raises(TransactionOpen):
                await acme.fetch_all("select 1")


async def test_the_search_for_leaks_finds_none_between_two_servers(
    primary: Node, replica: Node, eventually: Eventually
) -> None:
    tenants = [make_tenant(primary), make_tenant(primary)]
    replica.catch_up_with(primary)
    async with routed(primary, replica, eventually=eventually) as router:
        for tenant in tenants:
            await router.tenant(tenant).execute(
                "insert into contacts (name) values (%s)", [f"mark of {tenant}"]
            )

        async def read(acme: Tenant) -> Any:
            return await acme.fetch_all("select name from contacts")

        async def write(acme: Tenant) -> Any:
            return await acme.fetch_all("update contacts set name = name returning name")

        async def stream(acme: Tenant) -> Any:
            async with acme.stream("select name from contacts") as rows:
                return [row async for row in rows]

        marks = {tenant: f"mark of {tenant}" for tenant in tenants}
        await tenant_leak_fuzz(router, marks, [read, write, stream])
        await eventually(lambda: not any(r._engine.lent for r in router.replicas))
        await eventually(lambda: not router.primary._engine.lent)


@pytest.mark.parametrize(("max_lag", "interval"), [(0.5, 0.25), (1, 0), (-1, 0.1)])
def test_a_lag_that_cannot_be_seen_is_refused(
    primary: Node, max_lag: float, interval: float
) -> None:
    with pytest.raises(ValueError, match="two intervals"):
        ReadWriteRouter(database(primary), [], max_lag=max_lag, interval=interval)


async def test_a_router_without_replicas_is_a_database(primary: Node, tenant: str) -> None:
    async with ReadWriteRouter(database(primary), []) as router:
        assert await router.tenant(tenant).fetch_value(in_recovery()) is False


async def test_a_commit_without_a_position_sends_reads_to_the_primary_until_one_is_seen(
    primary: Node,
    replica: Node,
    tenant: str,
    eventually: Eventually,
    new_proxy: Callable[[], Proxy],
) -> None:
    """The answer to a write is lost: it may have happened, and nobody knows where."""
    async with new_proxy().serving(primary.url.replace("postgres@", "app@")) as proxy:
        first = database(primary, url=proxy.url)
        async with ReadWriteRouter(first, [database(replica)], interval=0.02) as router:
            await eventually(lambda: _all_usable(router))
            acme = router.tenant(tenant)
            replica.pause()
            try:
                proxy.lose_answer_to = b"into contacts"
                with pytest.raises(CommitUnknown):
                    await acme.execute("insert into contacts (name) values ('Ada')")
                assert await acme.fetch_all("select name from contacts") == [("Ada",)]
                await eventually(lambda: router._marks.of(tenant) is not None)
                assert await acme.fetch_all("select name from contacts") == [("Ada",)]

                async with acme.transaction() as tx:
                    await _insert(tx, "Eve")
                    proxy.lose_answer_to = b"mtenant_commit"
                assert await acme.fetch_value("select count(*) from contacts") == 2
                assert await acme.token() is not None
            finally:
                replica.resume()
    assert proxy.lost == 2


async def test_a_position_that_cannot_be_told_fails_no_write(
    primary: Node, replica: Node, tenant: str, eventually: Eventually, monkeypatch: Any
) -> None:
    monkeypatch.setattr(engine, "POSITION", b"select 1/0")
    async with routed(primary, replica, eventually=eventually) as router:
        acme = router.tenant(tenant)
        assert (await acme.execute("insert into contacts (name) values ('a')")).rows_affected == 1
        async with acme.transaction() as tx:
            await _insert(tx, "b")
        assert await acme.fetch_value("select count(*) from contacts") == 2
        assert await acme.token() is not None


def test_a_database_belongs_to_one_router(primary: Node) -> None:
    first, second, other = (database(primary) for _ in range(3))
    ReadWriteRouter(first, [second])
    for members in ((first, []), (other, [second]), (other, [other])):
        with pytest.raises(ValueError, match=r"router|twice"):
            ReadWriteRouter(*members)
