from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from mtenant_database.migrate import (
    Fleet,
    History,
    Migration,
    MigrationFailed,
    Migrator,
    RepairNeeded,
    RuleBroken,
    SchemaBusy,
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
        ("create index concurrently if not exists a on only people (id)", (None, "people")),
        ('create unique index a on "My People" using btree (id)', (None, "My People")),
        ("create index concurrently on tenant_b.people (id)", ("tenant_b", "people")),
        ("alter table if exists only people detach partition b concurrently", (None, "people")),
        ("reindex table concurrently people", (None, "people")),
        ("reindex (verbose) index concurrently a", (None, "a")),
        ("drop index concurrently if exists a", (None, "a")),
        ("refresh materialized view concurrently totals", (None, "totals")),
        ("select 1", None),
        ("reindex table", None),
    ],
)
def test_what_a_statement_is_about(text: str, expected: tuple[str | None, str] | None) -> None:
    assert targets(split(text)[0]) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "text",
    [
        "drop table people",
        "do $$ begin alter table people add oops int; end $$",
        "drop index concurrently people_name",
        "create index concurrently on tenant_globex.people (id)",
        "create index concurrently on shared.tenants (error)",
        "create type mood as enum ('a')",
        "alter table shared.tenants add oops int",
    ],
)
def test_without_a_transaction_too_another_components_relation_is_out_of_reach(
    scratch_database: ScratchDatabase, text: str
) -> None:
    db = scratch_database
    foreign = Migration.of(
        "deal", 1, "x", f"-- migrate: no-transaction\ncreate table deals (id int); {text}"
    )
    index = Migration.of("crm", 2, "i", "create index people_name on people (name)")

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([PEOPLE, index]))
            for tenant in ("acme", "globex"):
                await provision(db.deploy, tenant, settings=db.settings)
            if "create type" not in text:
                await fleet.register(History([foreign]))
                report = await fleet.up(tenants=["acme"])
                assert report.failed[0].code == RuleBroken.code
            else:
                with pytest.raises(RuleBroken):
                    await fleet.register(History([foreign]))

    asyncio.run(main())
    for tenant in ("acme", "globex"):
        assert indexes(db, f"tenant_{tenant}") == [("people_name", True)]
    assert not db.rows("select from pg_attribute where attname = 'oops'")
    assert not db.rows("select from pg_class where relname like 'tenants_error%'")


def test_a_statement_and_its_count_are_one(crm: ScratchDatabase) -> None:
    """Else repair would run what was done once more, and fail at it."""
    text = "-- migrate: no-transaction\ncreate table a (id int); create table b (id int)"
    files = History([Migration.of("crm", 1, "two", text)])
    crm.rows(
        "create function crm.trap() returns trigger language plpgsql as"
        " $$ begin if new.done = 1 then raise 'no count'; end if; return new; end $$"
    )

    async def main() -> None:
        async with migrator(crm, files) as one:
            await one.prepare()
            crm.rows(
                "create trigger trap before update on crm.mtenant_ledger"
                " for each row execute function crm.trap()"
            )
            with pytest.raises(MigrationFailed, match="no count"):
                await one.up()
            crm.rows("drop trigger trap on crm.mtenant_ledger")
            await one.repair("retry")

    asyncio.run(main())
    assert crm.tables("crm") == {"a", "b"}
    assert crm.value("select relations from crm.mtenant_ledger") == ["a", "b"]


def test_what_the_server_wants_alone_is_run_alone(crm: ScratchDatabase) -> None:
    text = (
        "-- migrate: no-transaction\ncreate table a (id int);\n"
        "do $$ begin for i in 1..3 loop insert into a values (i); commit; end loop; end $$;\n"
        "vacuum a; reindex schema crm;\n"
        "begin; insert into a values (4); commit;\n"
    )
    for body, expected in (
        (text, 4),
        (text.replace("begin; insert", "insert").replace("(4); commit", "(4)"), 4),
    ):
        crm.rows("drop table if exists crm.a, crm.mtenant_ledger")

        async def main(body: str = body) -> None:
            async with migrator(crm, History([Migration.of("crm", 1, "all", body)])) as one:
                await one.up()

        asyncio.run(main())
        assert crm.value("select count(*) from crm.a") == expected
        assert state(crm) == [(1, "applied", 0, ["a"])]


def test_a_file_that_ends_a_transaction_of_its_own_is_provisioned_outside_of_ours(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    file = Migration.of(
        "crm",
        2,
        "batches",
        "-- migrate: no-transaction\nbegin; insert into people values (1, 'a'); commit;\n"
        "create index concurrently on people (name); select 1 / 0",
    )

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([PEOPLE, file]))
        with pytest.raises(MigrationFailed, match="22012"):
            await provision(db.deploy, "acme", settings=db.settings)
        # Not begun again from its first statement.
        with pytest.raises(RepairNeeded, match="after 4 statements"):
            await provision(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    assert db.value("select count(*) from tenant_acme.people") == 1


def test_repair_does_not_touch_what_somebody_is_still_building(crm: ScratchDatabase) -> None:
    impatient = replace(crm.settings, lock_wait=timedelta(milliseconds=200))

    async def main() -> None:
        async with migrator(crm, History([PEOPLE])) as one:
            await one.up()
        with psycopg.connect(crm.admin) as other:  # an old transaction, which the build waits for
            other.execute("insert into crm.people values (1, 'a')")
            async with migrator(crm) as builder:
                build = asyncio.create_task(builder.up())
                while ("people_id", False) not in indexes(crm):
                    await asyncio.sleep(0.01)
                async with Migrator(crm.deploy, FILES, schema="crm", settings=impatient) as second:
                    with pytest.raises(SchemaBusy):
                        await second.repair("retry")
                    with pytest.raises(SchemaBusy):
                        await second.repair("reverted")
                other.rollback()
                await build

    asyncio.run(main())
    assert indexes(crm) == [("people_id", True), ("people_name", True)]


def test_repair_leaves_the_invalid_index_of_another_component_alone(crm: ScratchDatabase) -> None:
    other = Migration.of("deal", 9, "deals", "create table people_deals (id int)")

    async def main() -> None:
        async with migrator(crm, History([other])) as one:
            await one.up()
        await break_it(crm)
        crm.rows("insert into crm.people_deals values (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            crm.rows("create unique index concurrently people_zz on crm.people_deals (id)")
        async with migrator(crm) as one:
            await one.repair("reverted")

    asyncio.run(main())
    assert ("people_zz", False) in indexes(crm)
    assert ("people_name", False) not in indexes(crm)


def test_what_a_file_sets_is_set_again_when_it_goes_on(crm: ScratchDatabase) -> None:
    text = (
        "-- migrate: no-transaction\nset mtenant.test = 'yes';\n"
        "do $$ begin if exists (select from crm.people) then raise 'not empty'; end if; end $$;\n"
        "create table later as select current_setting('mtenant.test') as said"
    )
    files = History([PEOPLE, Migration.of("crm", 2, "set", text)])

    async def main() -> None:
        async with migrator(crm, History([PEOPLE])) as one:
            await one.up()
        crm.rows("insert into crm.people values (1, 'a')")
        async with migrator(crm, files) as one:
            with pytest.raises(MigrationFailed, match="not empty"):
                await one.up()
            crm.rows("delete from crm.people")
            await one.repair("retry")

    asyncio.run(main())
    assert crm.value("select said from crm.later") == "yes"
