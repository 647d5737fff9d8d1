# ruff: noqa: PT012 -- an error of COMMIT comes from the end of a block
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from mtenant_database.database import Database
from mtenant_database.errors import (
    ConstraintConflict,
    MultipleRows,
    RowNotFound,
    SerializationConflict,
    TenantMismatch,
    TransactionAborted,
    TransactionOpen,
)
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_database.testing import (
    RecordingDatabase,
    TenantLeak,
    tenant_leak_fuzz,
    tenant_schema,
)

pytestmark = pytest.mark.anyio

ONE = "select id, name from contacts where id = 1"
NONE = "select id, name from contacts where id = 99"
TWO = "values (1, 'a'), (2, 'b')"
INSERT = "insert into contacts values (2, 'x')"
AGAIN = "insert into contacts values (1, 'x')"


@dataclass(frozen=True)
class Contact:
    id: int
    name: str


@pytest.fixture(params=["real", "fake"])
async def both(request: pytest.FixtureRequest, place: Any) -> AsyncIterator[Any]:
    """A database and two of its tenants, real and recorded: what follows holds for both."""
    one, other = place.fresh(), place.fresh()
    if request.param == "real":
        async with Database(place.config()) as db:
            yield db, db.tenant(one), db.tenant(other)
        return
    fake = RecordingDatabase()
    for tenant in (one, other):
        fake.on(ONE, rows=[{"id": 1, "name": tenant}], tenant=tenant)
    fake.on(NONE)
    fake.on(TWO, rows=[{"column1": 1, "column2": "a"}, {"column1": 2, "column2": "b"}])
    fake.on(AGAIN, error=ConstraintConflict(constraint="contacts_pkey"))
    fake.on("select 1", rows=[{"?column?": 1}])
    async with fake as db:
        yield db, db.tenant(one), db.tenant(other)


async def test_both_answer_in_the_shape_that_is_asked_for(both: Any) -> None:
    db, one, other = both

    assert await one.fetch_one(ONE) == (1, one.id)
    assert await other.fetch_one(f"  {ONE}\n") == (1, other.id)
    assert await one.fetch_one(ONE, row=Contact) == Contact(1, one.id)
    assert await one.fetch_all(ONE, row=dict) == [{"id": 1, "name": one.id}]
    assert await one.fetch_value(ONE) == 1
    assert await one.fetch_optional(NONE) is None
    async with one.stream(ONE, row=Contact) as rows:
        assert [row async for row in rows] == [Contact(1, one.id)]
    assert await db.fetch_value("select 1") == 1


async def test_both_refuse_the_wrong_number_of_rows(both: Any) -> None:
    _, one, _ = both

    with pytest.raises(RowNotFound):
        await one.fetch_one(NONE)
    for fetch in (one.fetch_one, one.fetch_optional, one.fetch_value):
        with pytest.raises(MultipleRows):
            await fetch(TWO)


async def test_both_refuse_what_leaves_the_scope(both: Any) -> None:
    db, one, _ = both

    for query in ("commit", "set search_path to x", "copy contacts to stdout", ""):
        with pytest.raises(ValueError, match="not for here"):
            await one.execute(query)
        with pytest.raises(ValueError, match="not for here"):
            await one.fetch_all(query)
    with pytest.raises(ValueError, match="transaction"):
        await one.execute("set local lock_timeout = 1")
    with pytest.raises(ValueError, match="stream"):
        async with one.stream(INSERT):
            pass
    with pytest.raises(InvalidTenantId):
        db.tenant("A-B")


async def test_both_keep_handles_out_of_open_transactions(both: Any) -> None:
    db, one, other = both

    async with one.transaction() as tx:
        assert tx.tenant == one.id
        for call in (one.fetch_all, db.fetch_all, one.execute):
            with pytest.raises(TransactionOpen):
                await call("select 1")
        with pytest.raises(TenantMismatch):
            await other.fetch_all(ONE)
        with pytest.raises(TransactionOpen):
            async with one.transaction():
                pass
        with pytest.raises(TransactionOpen):
            await tx.__aenter__()
        assert await tx.fetch_one(ONE, row=Contact) == Contact(1, one.id)
        await tx.lock("import")
    with pytest.raises(TransactionOpen):
        await tx.fetch_one(ONE)


async def test_both_tell_of_an_error_that_was_caught_inside(both: Any) -> None:
    _, one, _ = both

    with pytest.raises(TransactionAborted):
        async with one.transaction() as tx:
            with pytest.raises(ConstraintConflict):
                await tx.execute(AGAIN)
    with pytest.raises(TransactionAborted):
        async with one.transaction() as tx:
            with pytest.raises(ConstraintConflict):
                await tx.execute(AGAIN)
            await tx.execute(INSERT)
    async with one.transaction() as tx:
        with pytest.raises(ConstraintConflict):
            async with tx.transaction():
                await tx.execute(AGAIN)
        assert (await tx.execute(INSERT)).rows_affected == 1


async def test_both_run_a_function_again_after_a_conflict(both: Any) -> None:
    _, one, _ = both
    calls = 0

    async def work(tx: Any, factor: int) -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise SerializationConflict
        return factor * int(await tx.fetch_value(ONE))

    assert await one.run(work, 7) == 7
    assert calls == 3
    async for attempt in one.attempts(2):
        with attempt:
            async with one.transaction() as tx:
                assert (
                    await tx.execute_many("insert into contacts values (%s, 'x')", [[5], [6]])
                ).rows_affected == 2


async def test_the_fake_tells_what_became_of_each_statement() -> None:
    db = RecordingDatabase()
    db.on(AGAIN, error=ConstraintConflict(constraint="x"))
    acme = db.tenant("acme")

    async with acme.transaction() as tx:
        await tx.execute(INSERT, [1])
        assert db.recorded[0].outcome == "open"
        with pytest.raises(KeyError):
            async with tx.transaction():
                await tx.execute("delete from contacts")
                raise KeyError
    with pytest.raises(KeyError):
        async with acme.transaction() as tx:
            await tx.execute(INSERT)
            raise KeyError
    with pytest.raises(ConstraintConflict):
        await acme.execute(AGAIN)
    await db.execute("vacuum")
    await db.execute_many("analyze", [()])
    await acme.execute_many(INSERT, [[1], [2]])

    assert [(r.tenant, r.statement, r.outcome) for r in db.recorded] == [
        ("acme", INSERT, "committed"),
        ("acme", "delete from contacts", "rolled back"),
        ("acme", INSERT, "rolled back"),
        ("acme", AGAIN, "rolled back"),
        (None, "vacuum", "committed"),
        (None, "analyze", "committed"),
        ("acme", INSERT, "committed"),
        ("acme", INSERT, "committed"),
    ]
    assert db.recorded[0].params == [1]


async def test_the_fake_does_not_make_answers_up() -> None:
    db = RecordingDatabase()

    with pytest.raises(AssertionError, match="nothing was said about: select 2"):
        await db.tenant("acme").fetch_all("select   2")
    db.on("select 2", rows=[{"n": 2}])
    with pytest.raises(TypeError, match="row factories"):
        await db.tenant("acme").fetch_all("select 2", row=dict_row)


async def test_a_tenant_for_one_test_is_there_and_goes(db: Database, place: Any) -> None:
    table = "create table notes (id int primary key); insert into notes values (7)"
    async with tenant_schema(place.owner, table, grant_to=place.role) as tenant:
        assert await db.tenant(tenant).fetch_value("select id from notes") == 7
        assert (await db.tenant(tenant).execute("delete from notes")).rows_affected == 1

    left = place.run(f"select count(*) from pg_namespace where nspname = 'tenant_{tenant}'")
    assert left == [(0,)]
    with pytest.raises(psycopg.errors.SyntaxError):
        async with tenant_schema(place.owner, "nonsense"):
            pass


async def test_the_search_for_leaks_finds_none_here(db: Database, place: Any) -> None:
    marks = {tenant: tenant for tenant in (place.fresh(), place.fresh())}

    async def read(tenant: Any) -> Any:
        return await tenant.fetch_all("select id, name from contacts")

    async def change(tenant: Any) -> Any:
        async with tenant.transaction() as tx:
            await tx.execute("update contacts set name = name")
            return await tx.fetch_all("select name from contacts")

    async def fail(tenant: Any) -> Any:
        await tenant.execute("select 1/0")

    await tenant_leak_fuzz(db, marks, [read, change, fail], rounds=60)


async def test_the_search_for_leaks_finds_one_that_is_there(db: Database, place: Any) -> None:
    one, other = place.fresh(), place.fresh()
    cache: list[Any] = []

    async def cached(tenant: Any) -> Any:
        if not cache:
            cache.append(await tenant.fetch_all("select name from contacts"))
        return cache[0]

    with pytest.raises(TenantLeak, match="seed 3, round"):
        await tenant_leak_fuzz(db, {one: one, other: other}, [cached], rounds=20, seed=3)


async def test_the_search_for_leaks_finds_a_transaction_that_came_back_open(
    db: Database, place: Any
) -> None:
    tenant = place.fresh()

    lent = []

    async def forget(handle: Any) -> None:
        lent.append(await db._engine.borrow(None))

    with pytest.raises(TenantLeak, match="did not come back"):
        await tenant_leak_fuzz(db, {tenant: tenant}, [forget], rounds=1, at_once=1, seed=1)
    for conn in lent:
        await db._engine.release(conn)
