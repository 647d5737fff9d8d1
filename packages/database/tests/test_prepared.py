from __future__ import annotations

from typing import Any

import pytest

from mtenant_database.database import Database

pytestmark = pytest.mark.anyio


async def _prepared(db: Database, text: str) -> int:
    query = "select count(*) from pg_prepared_statements where statement like %s || '%%'"
    return int(await db.fetch_value(query, [text]))


@pytest.fixture
async def one(place: Any) -> Any:
    async with Database(place.config(max_open_conns=1, max_idle_conns=1)) as db:
        yield db


async def test_what_comes_again_without_a_tenant_is_prepared(one: Database) -> None:
    for number in range(8):
        assert await one.fetch_value("select %s::int + 1", [number]) == number + 1
        # Another type is another statement: psycopg chooses it by value.
        assert await one.fetch_value("select %s::text", ["a"]) == "a"

    assert await _prepared(one, "select $1::int + 1") == 1


async def test_a_tenants_statement_is_never_prepared(one: Database, place: Any) -> None:
    tenant = one.tenant(place.fresh())
    for _ in range(10):
        await tenant.fetch_value("select name from contacts")
        await tenant.execute("update contacts set name = name")

    assert await _prepared(one, "select name") == 0
    assert await _prepared(one, "update contacts") == 0


async def test_an_error_in_the_first_use_of_a_name_poisons_nothing(one: Database) -> None:
    query = "select 10 / %s::int"
    for divisor in (1, 1, 1, 1, 1):
        assert await one.fetch_value(query, [divisor]) == 10
    for _ in range(3):
        with pytest.raises(Exception, match="server"):
            await one.fetch_value(query, [0])
    assert await one.fetch_value(query, [5]) == 2


async def test_a_table_that_changes_behind_a_prepared_statement_is_read_again(
    one: Database, place: Any
) -> None:
    schema = f"tenant_{place.fresh()}"
    query = f"select * from {schema}.contacts"
    for _ in range(8):
        assert len(await one.fetch_one(query)) == 2

    place.run(f"alter table {schema}.contacts add column age int")

    for _ in range(12):
        assert len(await one.fetch_one(query)) == 3


async def test_the_number_of_names_is_bounded(one: Database) -> None:
    for number in range(130):
        for _ in range(6):
            await one.fetch_value(f"select {number}")
    await one.fetch_value("select '" + "x" * 5000 + "'")

    assert await _prepared(one, "select ") <= 110
    assert await one.fetch_value("select 129") == 129
