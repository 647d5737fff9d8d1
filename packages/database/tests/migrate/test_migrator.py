from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from mtenant_database.migrate import (
    ChecksumMismatch,
    Done,
    History,
    Irreversible,
    MigrateSettings,
    Migration,
    MigrationFailed,
    MigrationFileInvalid,
    MigrationMissing,
    Migrator,
    NotInstalled,
    OwnerUnsafe,
    SchemaBusy,
    Status,
    UnknownVersion,
)
from mtenant_database.migrate.ledger import lock_key

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

PEOPLE = Migration.of(
    "crm", 1, "people", "create table people (id int primary key)", "drop table people"
)
EMAIL = Migration.of(
    "crm", 2, "email", "alter table people add email text", "alter table people drop email"
)
NOTES = Migration.of("crm", 3, "notes", "create table notes (id int)", "drop table notes")
FILES = History([PEOPLE, EMAIL, NOTES])


@pytest.fixture
def crm(scratch_database: ScratchDatabase) -> ScratchDatabase:
    """A database with a schema crm."""
    role = scratch_database.settings.owner
    scratch_database.rows(f"create schema crm authorization {role}")
    return scratch_database


def migrator(
    database: ScratchDatabase,
    files: History = FILES,
    settings: MigrateSettings | None = None,
    schema: str = "crm",
) -> Migrator:
    return Migrator(database.deploy, files, schema=schema, settings=settings or database.settings)


def said(steps: list[Done]) -> list[str]:
    return [str(done.step) for done in steps]


def test_up_applies_what_is_pending_and_then_nothing(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with migrator(crm, History([PEOPLE])) as one:
            assert said(await one.up()) == ["crm 1 people (up)"]
        async with migrator(crm) as one:
            assert said(await one.up()) == ["crm 2 email (up)", "crm 3 notes (up)"]
            assert await one.up() == []

    asyncio.run(main())
    assert crm.tables("crm") == {"people", "notes"}
    assert crm.rows(
        "select version, state, relations, tableowner from crm.mtenant_ledger, pg_tables"
        " where schemaname = 'crm' and tablename = 'people' order by position"
    ) == [
        (1, "applied", ["people"], crm.settings.owner),
        (2, "applied", [], crm.settings.owner),
        (3, "applied", ["notes"], crm.settings.owner),
    ]


def test_down_to_and_up_again(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with migrator(crm) as one:
            await one.up()
            assert said(await one.down()) == ["crm 3 notes (down)"]
            assert said(await one.down(2)) == ["crm 2 email (down)", "crm 1 people (down)"]
            assert await one.down() == []
            assert len(await one.to(2)) == 2
            assert said(await one.to(1)) == ["crm 2 email (down)"]
            assert len(await one.to(0)) == 1
            with pytest.raises(UnknownVersion):
                await one.to(7)
            with pytest.raises(ValueError, match="1 or more"):
                await one.down(0)

    asyncio.run(main())
    assert crm.tables("crm") == set()


def test_a_failed_file_is_rolled_back_and_those_before_it_stay(crm: ScratchDatabase) -> None:
    broken = Migration.of(
        "crm", 2, "broken", "create table half (id int);\n\nalter table nowhere add a int;"
    )

    async def main() -> MigrationFailed:
        async with migrator(crm, History([PEOPLE, broken])) as one:
            with pytest.raises(MigrationFailed) as info:
                await one.up()
            return info.value

    failed = asyncio.run(main())
    assert failed.sqlstate == "42P01"
    assert failed.message == (
        'crm 2 broken:3, in schema crm: 42P01 relation "nowhere" does not exist'
    )
    assert crm.tables("crm") == {"people"}
    assert crm.value("select max(version) from crm.mtenant_ledger") == 1


@pytest.mark.parametrize(
    ("text", "place", "sqlstate"),
    [
        ("select 1;\nselect 1/0;", ":2", "22012"),
        ("select 1;\n\nselct 2;", ":3", "42601"),
        ("-- migrate: lock_timeout=1s\nselect 1;\nselect nothing;", ":3", "42703"),
        ("select 1;\ndo $$ begin raise exception 'no'; end $$", ":2", "P0001"),
    ],
)
def test_an_error_names_the_line(
    crm: ScratchDatabase, text: str, place: str, sqlstate: str
) -> None:
    async def main() -> MigrationFailed:
        async with migrator(crm, History([Migration.of("crm", 1, "x", text)])) as one:
            with pytest.raises(MigrationFailed) as info:
                await one.up()
            return info.value

    failed = asyncio.run(main())
    assert failed.sqlstate == sqlstate
    assert f"x{place}, in schema crm" in failed.message


def test_a_constraint_that_is_deferred_to_the_commit_fails_the_migration(
    crm: ScratchDatabase,
) -> None:
    text = (
        "create table a (id int primary key); create table b (a int references a"
        " deferrable initially deferred); insert into b values (1)"
    )

    async def main() -> None:
        async with migrator(crm, History([Migration.of("crm", 1, "x", text)])) as one:
            with pytest.raises(MigrationFailed, match="23503"):
                await one.up()

    asyncio.run(main())
    assert crm.tables("crm") == set()


def test_no_row_of_a_table_is_in_an_error(crm: ScratchDatabase) -> None:
    text = "create table a (name text unique); insert into a values ('hunter2'), ('hunter2')"

    async def main() -> MigrationFailed:
        async with migrator(crm, History([Migration.of("crm", 1, "x", text)])) as one:
            with pytest.raises(MigrationFailed) as info:
                await one.up()
            return info.value

    assert "hunter2" not in asyncio.run(main()).message


def test_what_a_file_has_set_is_gone_afterwards(crm: ScratchDatabase) -> None:
    loud = Migration.of(
        "crm", 1, "loud", "set search_path to public; set lock_timeout to 77; select 1"
    )
    after = Migration.of(
        "crm",
        2,
        "after",
        "create table seen as select current_setting('lock_timeout') as t, current_user::text as u,"
        " current_schema()::text as s",
    )

    async def main() -> None:
        async with migrator(crm, History([loud, after])) as one:
            await one.up()

    asyncio.run(main())
    assert crm.rows("select * from crm.seen") == [("3s", crm.settings.owner, "crm")]


def test_status_compares_files_and_ledger(crm: ScratchDatabase) -> None:
    contract = Migration.of("crm", 4, "later", "-- migrate: contract\nselect 1")
    changed = Migration.of("crm", 2, "email", "alter table people add mail text")

    async def main() -> list[Status]:
        async with migrator(crm, History([PEOPLE])) as one:
            assert [line.condition for line in await one.status()] == ["pending"]
        async with migrator(crm, History([PEOPLE, EMAIL])) as one:
            await one.up()
        async with migrator(crm, History([changed, NOTES, contract])) as one:
            with pytest.raises(MigrationMissing):
                await one.up()
            found = await one.status()
        async with migrator(crm, History([PEOPLE, changed])) as one:
            with pytest.raises(ChecksumMismatch):
                await one.up()
        return found

    assert [(line.version, line.condition) for line in asyncio.run(main())] == [
        (1, "missing"),
        (2, "changed"),
        (3, "pending"),
        (4, "contract"),
    ]


def test_contract_migrations_wait(crm: ScratchDatabase) -> None:
    files = History([PEOPLE, Migration.of("crm", 2, "c", "-- migrate: contract\nselect 1"), NOTES])

    async def main() -> None:
        async with migrator(crm, files) as one:
            assert said(await one.up()) == ["crm 1 people (up)", "crm 3 notes (up)"]
            assert await one.up() == []
            assert said(await one.up(contract=True)) == ["crm 2 c (up)"]

    asyncio.run(main())


def test_what_is_irreversible_is_not_undone_and_neither_is_what_came_later(
    crm: ScratchDatabase,
) -> None:
    files = History(
        [PEOPLE, Migration.of("crm", 2, "x", "-- migrate: irreversible\nselect 1"), NOTES]
    )

    async def main() -> None:
        async with migrator(crm, files) as one:
            await one.up()
            with pytest.raises(Irreversible, match="its file says so"):
                await one.to(0)
            with pytest.raises(Irreversible):
                await one.down(2)

    asyncio.run(main())
    assert crm.tables("crm") == {"people", "notes"}


def test_a_superuser_does_no_ddl(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with Migrator(crm.admin, FILES, schema="crm") as one:
            with pytest.raises(OwnerUnsafe, match="superuser"):
                await one.up()
        async with Migrator(crm.admin, FILES, schema="crm", settings=crm.settings) as one:
            assert len(await one.up()) == 3

    asyncio.run(main())


def test_a_file_does_not_go_back_to_the_superuser_who_connects(crm: ScratchDatabase) -> None:
    files = History([Migration.of("crm", 1, "x", "reset role; create table x (id int)")])

    async def main() -> None:
        async with Migrator(crm.admin, files, schema="crm", settings=crm.settings) as one:
            with pytest.raises(OwnerUnsafe):
                await one.up()

    asyncio.run(main())
    assert crm.tables("crm") == set()


def test_one_role_for_everything_works(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with Migrator(crm.owner, FILES, schema="crm") as one:
            assert len(await one.up()) == 3

    asyncio.run(main())


def test_a_schema_that_is_not_there_is_an_error_but_shared_is_made(
    scratch_database: ScratchDatabase,
) -> None:
    async def main() -> None:
        async with migrator(scratch_database, schema="nowhere") as one:
            assert {line.condition for line in await one.status()} == {"pending"}
            with pytest.raises(NotInstalled, match="there is no schema nowhere"):
                await one.up()
        async with migrator(scratch_database, schema="shared") as one:
            assert len(await one.up()) == 3

    asyncio.run(main())


def test_files_of_two_components_are_no_business_of_a_migrator() -> None:
    with pytest.raises(MigrationFileInvalid, match="takes one component"):
        Migrator("", History([PEOPLE, Migration.of("b", 1, "x", "select 1")]), schema="crm")


def test_no_files_are_nothing_to_do(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with migrator(crm, History()) as one:
            assert (await one.up(), await one.to(0), await one.down()) == ([], [], [])

    asyncio.run(main())


def test_a_server_that_is_not_there_is_a_typed_error() -> None:
    async def main() -> None:
        settings = MigrateSettings(attempts=1)
        conninfo = "postgresql://nobody:hunter2@127.0.0.1:1/none"
        async with Migrator(conninfo, FILES, schema="crm", settings=settings) as one:
            assert "hunter2" not in repr(vars(one))
            with pytest.raises(MigrationFailed) as info:
                await one.up()
            assert "hunter2" not in info.value.message

    asyncio.run(main())


def test_two_at_once_apply_each_file_once(crm: ScratchDatabase) -> None:
    slow = Migration.of("crm", 1, "slow", "create table people (id int); select pg_sleep(0.05)")

    async def one_run() -> list[str]:
        async with migrator(crm, History([slow, EMAIL, NOTES])) as one:
            return said(await one.up())

    async def main() -> list[list[str]]:
        return await asyncio.gather(*(one_run() for _ in range(4)))

    made = [step for steps in asyncio.run(main()) for step in steps]
    assert sorted(made) == ["crm 1 slow (up)", "crm 2 email (up)", "crm 3 notes (up)"]


def test_a_schema_that_somebody_else_migrates_is_waited_for_and_not_for_ever(
    crm: ScratchDatabase,
) -> None:
    impatient = MigrateSettings(owner=crm.settings.owner, lock_wait=timedelta(milliseconds=200))

    async def main() -> None:
        async with migrator(crm, History([PEOPLE]), impatient) as one:
            await one.up()
        async with migrator(crm, FILES, impatient) as one:
            with psycopg.connect(crm.admin) as other:
                other.execute("select pg_advisory_xact_lock(%s)", [lock_key("crm")])
                with pytest.raises(SchemaBusy, match="another process"):
                    await one.up()
            assert len(await one.up()) == 2

    asyncio.run(main())


def test_a_lock_on_a_table_is_tried_for_again(crm: ScratchDatabase) -> None:
    impatient = MigrateSettings(owner=crm.settings.owner, lock_timeout=timedelta(milliseconds=50))

    async def main() -> None:
        async with migrator(crm, History([PEOPLE]), impatient) as one:
            await one.up()
        async with migrator(crm, FILES, impatient) as one:
            with psycopg.connect(crm.admin) as other:
                other.execute("select * from crm.people")  # a reader that does not end
                task = asyncio.create_task(one.up())
                async with asyncio.timeout(30):
                    while not one.retries:
                        await asyncio.sleep(0.01)
            assert said(await task) == ["crm 2 email (up)", "crm 3 notes (up)"]

    asyncio.run(main())


def test_a_lock_that_never_comes_is_an_error_with_its_sqlstate(crm: ScratchDatabase) -> None:
    hasty = MigrateSettings(
        owner=crm.settings.owner, lock_timeout=timedelta(milliseconds=10), attempts=2
    )

    async def main() -> None:
        async with migrator(crm, History([PEOPLE]), hasty) as one:
            await one.up()
        with psycopg.connect(crm.admin) as other:
            other.execute("select * from crm.people")
            async with migrator(crm, FILES, hasty) as one:
                with pytest.raises(MigrationFailed) as info:
                    await one.up()
        assert info.value.sqlstate == "55P03"

    asyncio.run(main())


def test_a_connection_that_is_killed_is_made_again_and_nothing_runs_twice(
    crm: ScratchDatabase,
) -> None:
    slow = Migration.of(
        "crm", 1, "slow", "create table people (id int); select pg_sleep(0.2) from pg_sleep(0.1)"
    )

    async def main() -> None:
        async with migrator(crm, History([slow, EMAIL])) as one:
            task = asyncio.create_task(one.up())
            async with asyncio.timeout(30):
                while not crm.value(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity where"
                    " application_name = 'mtenant-db' and query like '%pg_sleep(0.2)%'"
                    " and datname = current_database()"
                ):
                    await asyncio.sleep(0.01)
            await task

    asyncio.run(main())
    assert crm.rows("select version, state from crm.mtenant_ledger order by 1") == [
        (1, "applied"),
        (2, "applied"),
    ]


def test_cancelled_in_the_middle_of_a_file_leaves_nothing_of_it(crm: ScratchDatabase) -> None:
    slow = Migration.of("crm", 1, "slow", "create table people (id int); select pg_sleep(60)")

    async def main() -> None:
        async with migrator(crm, History([slow])) as one:
            task = asyncio.create_task(one.up())
            async with asyncio.timeout(30):
                while not crm.value(
                    "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%'"
                    " and application_name = 'mtenant-db' and datname = current_database()"
                ):
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with migrator(crm, History([PEOPLE])) as one:
            assert len(await one.up()) == 1

    asyncio.run(main())
