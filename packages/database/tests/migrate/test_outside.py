from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mtenant_database.migrate import (
    Fleet,
    History,
    Migration,
    MigrationFailed,
    Migrator,
    RepairNeeded,
    RuleBroken,
    provision,
    suspend,
)
from mtenant_database.migrate.outside import targets
from mtenant_database.migrate.statement import split

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

PEOPLE = Migration.of(
    "crm", 1, "people", "create table people (id int, name text)", "drop table people"
)
INDEXES = Migration.of(
    "crm",
    2,
    "indexes",
    "-- migrate: no-transaction\n"
    "create index concurrently people_id on people (id);\n"
    "create unique index concurrently people_name on people (name);\n"
    "create table later (id int);\n",
    "-- migrate: no-transaction\ndrop index concurrently people_id;"
    " drop index concurrently people_name; drop table later;",
)
FILES = History([PEOPLE, INDEXES])


@pytest.fixture
def crm(scratch_database: ScratchDatabase) -> ScratchDatabase:
    """A database with a schema crm."""
    role = scratch_database.settings.owner
    scratch_database.rows(f"create schema crm authorization {role}")
    return scratch_database


def migrator(database: ScratchDatabase, files: History = FILES) -> Migrator:
    return Migrator(database.deploy, files, schema="crm", settings=database.settings)


def indexes(database: ScratchDatabase, schema: str = "crm") -> list[tuple[object, ...]]:
    return database.rows(
        "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
        f" where c.relnamespace = '{schema}'::regnamespace and c.relname like 'people%' order by 1"
    )


def state(database: ScratchDatabase) -> list[tuple[object, ...]]:
    return database.rows(
        "select version, state, done, relations from crm.mtenant_ledger order by 1"
    )


def test_a_no_transaction_file_goes_up_and_down(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with migrator(crm) as one:
            assert len(await one.up()) == 2
            assert indexes(crm) == [("people_id", True), ("people_name", True)]
            assert state(crm)[1] == (2, "applied", 0, ["later"])
            assert len(await one.down()) == 1

    asyncio.run(main())
    assert indexes(crm) == []
    assert state(crm) == [(1, "applied", 0, ["people"])]
    owner = crm.settings.owner
    assert crm.rows("select tableowner from pg_tables where schemaname = 'crm'") == [
        (owner,),
        (owner,),
    ]
    assert crm.rows("select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]


async def break_it(crm: ScratchDatabase) -> None:
    """Stop the file at its second statement, which leaves an invalid index."""
    async with migrator(crm, History([PEOPLE])) as one:
        await one.up()
    crm.rows("insert into crm.people values (1, 'same'), (2, 'same')")
    async with migrator(crm) as one:
        with pytest.raises(MigrationFailed, match=r"indexes:3, in schema crm: 23505"):
            await one.up()
        with pytest.raises(RepairNeeded, match="after 1 statements"):
            await one.up()
        with pytest.raises(RepairNeeded):
            await one.down()
    assert indexes(crm) == [("people_id", True), ("people_name", False)]
    assert state(crm)[1] == (2, "running", 1, [])


def test_repair_retry_goes_on_where_it_stopped(crm: ScratchDatabase) -> None:
    async def main() -> None:
        await break_it(crm)
        crm.rows("delete from crm.people where id = 2")
        async with migrator(crm) as one:
            assert [str(entry) for entry in await one.repair("retry")] == ["crm 2 indexes"]
            assert await one.repair("retry") == []
            assert await one.up() == []

    asyncio.run(main())
    assert indexes(crm) == [("people_id", True), ("people_name", True)]
    assert state(crm)[1] == (2, "applied", 0, ["later"])


def test_repair_reverted_forgets_it_and_drops_the_invalid_index(crm: ScratchDatabase) -> None:
    async def main() -> None:
        await break_it(crm)
        crm.rows("drop index crm.people_id")
        async with migrator(crm) as one:
            await one.repair("reverted")

    asyncio.run(main())
    assert indexes(crm) == []
    assert state(crm) == [(1, "applied", 0, ["people"])]


def test_repair_applied_refuses_an_invalid_index(crm: ScratchDatabase) -> None:
    async def main() -> None:
        await break_it(crm)
        async with migrator(crm) as one:
            with pytest.raises(MigrationFailed, match=r"crm\.people_name is invalid"):
                await one.repair("applied")
            crm.rows("delete from crm.people where id = 2")
            crm.rows("reindex index crm.people_name")
            await one.repair("applied")
            assert await one.up() == []

    asyncio.run(main())


def test_a_way_down_that_stopped_is_repaired_too(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with migrator(crm) as one:
            await one.up()
            crm.rows("create view crm.holds as select * from crm.later")
            with pytest.raises(MigrationFailed, match="2BP01"):
                await one.down()
            with pytest.raises(RepairNeeded, match="after 2 statements"):
                await one.up()
            crm.rows("drop view crm.holds")
            await one.repair("retry")

    asyncio.run(main())
    assert state(crm) == [(1, "applied", 0, ["people"])]
    assert crm.tables("crm") == {"people"}


def test_who_is_at_it_keeps_others_out(crm: ScratchDatabase) -> None:
    slow = Migration.of(
        "crm",
        2,
        "slow",
        "-- migrate: no-transaction\nselect pg_sleep(0.5); create table b (id int)",
    )
    files = History([PEOPLE, slow])

    async def up() -> int:
        async with migrator(crm, files) as one:
            return len(await one.up())

    async def main() -> list[int]:
        return list(await asyncio.gather(up(), up()))

    assert sum(asyncio.run(main())) == 2


def test_in_a_fleet_and_in_provisioning(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([PEOPLE]))
            await provision(db.deploy, "acme", settings=db.settings)
            await provision(db.deploy, "globex", settings=db.settings)
            await fleet.register(FILES)
            await provision(db.deploy, "initech", settings=db.settings)
            await suspend(db.deploy, "globex", settings=db.settings)
            report = await fleet.up()
            assert {one.tenant: one.outcome for one in report.results} == {
                "acme": "migrated",
                "globex": "failed",
            }
            assert "resume it first" in str(report.failed[0].error)

    asyncio.run(main())
    for tenant in ("acme", "initech"):
        assert indexes(db, f"tenant_{tenant}") == [("people_id", True), ("people_name", True)]


def test_another_components_table_is_refused_before_anything_runs(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    foreign = Migration.of(
        "deal",
        1,
        "x",
        "-- migrate: no-transaction\ncreate table deals (id int);"
        " create index concurrently on only people (id)",
    )

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([PEOPLE]))
            await provision(db.deploy, "acme", settings=db.settings)
            await fleet.register(History([foreign]))
            report = await fleet.up()
            assert report.failed[0].code == RuleBroken.code

    asyncio.run(main())
    assert db.tables("tenant_acme") == {"people"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("create index concurrently if not exists a on only people (id)", ["people"]),
        ('create unique index a on "My People" using btree (id)', ["My People"]),
        ("alter table if exists only people detach partition b concurrently", ["people"]),
        ("reindex table concurrently people", ["people"]),
        ("select 1", []),
    ],
)
def test_what_a_statement_is_about(text: str, expected: list[str]) -> None:
    assert targets(split(text)[0]) == expected
