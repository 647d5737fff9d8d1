from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from mtenant_config import ConfigError
from mtenant_database.database import Database
from mtenant_database.errors import (
    DatabaseUnavailable,
    PoolExhausted,
)
from mtenant_database.tenant import Tenant

pytestmark = pytest.mark.anyio


async def test_it_comes_from_the_environment(place: Any) -> None:
    tenant = place.fresh()

    async with Database.from_env({"DATABASE_URL": place.app, "DB_MAX_IDLE_CONNS": "1"}) as db:
        assert await db.tenant(tenant).fetch_value("select name from contacts") == tenant
        assert db.config.max_idle_conns == 1

    with pytest.raises(ConfigError):
        Database.from_env({})


async def test_a_scoped_read_is_one_round_trip_and_a_transaction_two(
    place: Any, proxy: Any
) -> None:
    tenant = place.fresh()
    config = place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)
    async with Database(config) as db:
        handle = db.tenant(tenant)

        async def trips(call: Callable[[], Any]) -> int:
            before = int(proxy.trips)
            await call()
            return int(proxy.trips) - before

        async def transaction() -> None:
            async with handle.transaction() as tx:
                await tx.execute("update contacts set name = name")

        async def nested() -> None:
            async with handle.transaction() as tx:
                async with tx.transaction():
                    await tx.execute("update contacts set name = name")
                await tx.fetch_all("select 1")

        async def limited() -> None:
            async with handle.transaction(timeout=5, isolation="serializable") as tx:
                await tx.fetch_all("select 1")

        async def nothing() -> None:
            async with handle.transaction():
                pass

        read = "select id, name from contacts where id = %s"
        assert await trips(lambda: handle.fetch_one(read, [1])) == 1
        assert await trips(lambda: handle.execute("update contacts set name = name")) == 1
        assert (
            await trips(lambda: handle.fetch_all("delete from contacts where id = 9 returning id"))
            == 1
        )
        assert await trips(lambda: db.fetch_all("select 1")) == 1
        assert await trips(transaction) == 2
        assert await trips(limited) == 2
        assert await trips(nested) == 3
        assert await trips(nothing) == 0
        many = [(number, "x") for number in range(10, 1010)]
        assert (
            await trips(lambda: handle.execute_many("insert into contacts values (%s, %s)", many))
            <= 4
        )


async def test_ten_thousand_queries_at_once_are_answered_over_twenty_connections(
    place: Any,
) -> None:
    tenants = [place.fresh() for _ in range(5)]
    async with Database(place.config(max_open_conns=20, max_idle_conns=5)) as db:
        handles = [db.tenant(tenant) for tenant in tenants]
        answers = await asyncio.gather(
            *(
                handles[number % 5].fetch_value("select name || %s::text from contacts", [number])
                for number in range(10_000)
            )
        )

        assert answers == [f"{tenants[number % 5]}{number}" for number in range(10_000)]
        assert db.pool.get_stats()["pool_size"] <= 20
        assert db.pool.get_stats()["pool_used"] == 0


async def test_a_pool_without_a_free_connection_is_a_typed_503(place: Any) -> None:
    tenant = place.fresh()
    async with Database(place.config(max_open_conns=1, max_idle_conns=1)) as db:
        db.pool.timeout = 0.05
        async with db.connection():
            with pytest.raises(PoolExhausted) as caught:
                await db.tenant(tenant).fetch_all("select 1")

        assert caught.value.status_code == 503
        assert caught.value.retryable
        assert caught.value.retry_after == 1
        assert await db.tenant(tenant).fetch_value("select 1") == 1


async def test_a_database_that_is_not_there_is_unavailable(place: Any) -> None:
    db = Database(place.config(url="postgresql://app@127.0.0.1:1/none"))

    with pytest.raises(DatabaseUnavailable):
        await db.connect()
    with pytest.raises(DatabaseUnavailable):
        await db.tenant("acme").fetch_all("select 1")


async def test_closing_waits_for_those_who_work_and_lends_no_more(place: Any) -> None:
    tenant = place.fresh()
    db = Database(place.config())
    await db.connect()
    entered, leave = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        async with db.tenant(tenant).transaction() as tx:
            await tx.execute("insert into contacts values (2, 'x')")
            entered.set()
            await leave.wait()
            return int(await tx.fetch_value("select count(*) from contacts"))

    worker = asyncio.create_task(work())
    await entered.wait()
    closer = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await db.tenant(tenant).fetch_all("select 1")
    assert not closer.done()
    leave.set()

    assert await worker == 2
    await closer
    assert db.pool.closed
    await db.close()


async def test_closing_gives_up_after_its_time(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    db = Database(place.config())
    await db.connect()
    async with db.connection():
        with caplog.at_level(logging.WARNING, "mtenant_database"):
            await db.close(timeout=0.05)

    assert "1 connections still in use" in caplog.text
    assert db.pool.closed


async def test_a_dedicated_connection_is_closed_afterwards(db: Database) -> None:
    async with db.connection(dedicated=True) as conn:
        await conn.execute("set search_path to information_schema")
        await conn.execute("select set_config('mtenant.tenant_id', 'acme', false)")

    assert conn.closed
    for _ in range(5):
        assert await db.fetch_value("show search_path") == "pg_catalog,pg_temp"
        assert not await db.fetch_value("select current_setting('mtenant.tenant_id', true)")
    async with db.connection() as conn:
        pass
    assert not conn.closed


async def test_the_urls_own_options_stay_and_the_base_path_wins(place: Any) -> None:
    options = "-c%20search_path%3Dpublic%20-c%20work_mem%3D7MB"
    async with Database(place.config(url=f"{place.app}?options={options}")) as db:
        assert await db.fetch_value("show work_mem") == "7MB"
        assert await db.fetch_value("show search_path") == "pg_catalog,pg_temp"


async def test_a_superuser_is_warned_of_once(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mtenant_database"):
        async with Database(place.config(url=place.admin)) as db:
            await asyncio.gather(*(db.fetch_value("select pg_sleep(0.01)") for _ in range(4)))
        warnings = [record for record in caplog.records if "superuser" in record.getMessage()]
        async with Database(place.config()) as db:
            await db.fetch_value("select 1")

    assert len(warnings) == 1
    assert len([r for r in caplog.records if "superuser" in r.getMessage()]) == 1


async def test_behind_a_transaction_pooler_nothing_is_named_and_no_options_are_sent(
    place: Any, proxy: Any
) -> None:
    tenant = place.fresh()
    async with Database(place.config(url=proxy.url, pooler="transaction")) as db:
        handle = db.tenant(tenant)
        assert await handle.fetch_value("select name from contacts") == tenant
        async with handle.transaction() as tx:
            await tx.execute("insert into contacts values (2, 'x')")
        assert (await handle.execute("delete from contacts where id = 2")).rows_affected == 1
        async with db.connection() as conn:
            rows = await (await conn.execute("select name from pg_prepared_statements")).fetchall()
        assert rows == []
        assert await db.fetch_value("show search_path") != "pg_catalog,pg_temp"


async def test_health_is_told(db: Database) -> None:
    status = await db.health_check()

    assert status.healthy
    assert await db.is_healthy()
    assert db.metrics.snapshot() is not None


async def test_two_databases_do_not_know_each_others_transactions(place: Any) -> None:
    tenant = place.fresh()
    async with (
        Database(place.config()) as one,
        Database(place.config()) as two,
        one.tenant(tenant).transaction() as tx,
    ):
        await tx.execute("delete from contacts")
        assert await two.tenant(tenant).fetch_value("select count(*) from contacts") == 1


async def test_a_handle_may_be_made_before_and_costs_nothing(place: Any) -> None:
    db = Database(place.config())
    handle = db.tenant(place.fresh())

    assert isinstance(handle, Tenant)
    async with db:
        assert await handle.fetch_value("select count(*) from contacts") == 1


async def test_a_dedicated_connection_that_fails_is_closed_too(db: Database) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        async with db.connection(dedicated=True) as conn:
            await conn.execute("nonsense")

    assert conn.closed


async def test_a_loan_that_takes_too_long_is_logged_with_the_borrower_and_tenants_are_told_apart(
    place: Any, caplog: pytest.LogCaptureFixture, eventually: Any
) -> None:
    tenants = [place.fresh(), place.fresh()]
    async with Database(place.config(), leak_threshold=0.05, tenant_metrics=2) as db:
        async with db.tenant(tenants[0]).transaction() as tx:
            await tx.fetch_value("select 1")
            await eventually(lambda: caplog.records)
        for tenant in tenants:
            await db.tenant(tenant).fetch_all("select name from contacts")

    warned = caplog.records[0].getMessage()
    assert "may be lost" in warned
    assert "in test_a_loan_that_takes_too_long" in warned
    assert {usage.tenant: usage.queries.count for usage in db.metrics.tenants()} == {
        tenants[0]: 2,
        tenants[1]: 1,
        None: 0,
    }
