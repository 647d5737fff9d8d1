from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mtenant_database.migrate import Fleet, History, Migration, Report, RuleBroken, provision

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

CONTACT = Migration.of(
    "contact",
    1,
    "people",
    "create table people (id int primary key, at timestamptz);"
    "create index people_at on people (at);"
    "create view recent as select * from people;"
    "create table parted (id int) partition by range (id);"
    "create table serials (id serial)",
)


async def migrated(db: ScratchDatabase, *files: Migration, up_to: int = 1) -> Report:
    """Make a tenant with contact, register these files, and run the fleet."""
    async with Fleet(db.deploy, settings=db.settings) as fleet:
        await fleet.install()
        await fleet.register(History([CONTACT]))
        await provision(db.deploy, "acme", settings=db.settings)
        own = [one for one in files if one.component == "contact"]
        await fleet.register(History([CONTACT, *own]))
        await fleet.register(History(one for one in files if one.component != "contact"))
        return await fleet.up()


def run(db: ScratchDatabase, text: str, component: str = "deal") -> Report:
    version = 2 if component == "contact" else 1
    return asyncio.run(migrated(db, Migration.of(component, version, "x", text)))


@pytest.mark.parametrize(
    "text",
    [
        "alter table people add a int",
        "create index on people (id)",
        "drop table serials",
        "drop index people_at",
        "alter index people_at rename to p",
        "create table deals (id int references people)",
        "create trigger t before insert on people execute function"
        " pg_catalog.suppress_redundant_updates_trigger()",
        "do $$ begin execute 'alter table people add a int'; end $$",
        "do $$ begin execute 'dr' || 'op table people casc' || 'ade'; end $$",
        "drop view recent",
        "create table p1 partition of parted for values from (1) to (2)",
        "create table child () inherits (people)",
        "alter sequence serials_id_seq restart with 5",
        "truncate people",
        "create or replace view recent as select * from people",
        "alter table people rename to persons",
        "comment on table people is 'mine'",
        "create policy p on people using (true)",
        "create rule r as on insert to people do nothing",
        "lock table people in exclusive mode",
    ],
)
def test_another_components_relation_is_out_of_reach(
    scratch_database: ScratchDatabase, text: str
) -> None:
    before = run(scratch_database, text)
    (result,) = before.failed
    assert result.code == RuleBroken.code, result.error
    assert "belongs to the component contact" in str(result.error)
    assert scratch_database.rows(
        "select component, version from tenant_acme.mtenant_ledger order by 1"
    ) == [("contact", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "alter table mtenant_ledger add a int",
        "do $$ begin execute 'drop table mtenant_ledger'; end $$",
    ],
)
def test_the_ledger_is_out_of_reach(scratch_database: ScratchDatabase, text: str) -> None:
    (result,) = run(scratch_database, text).failed
    assert "belongs to the component mtenant" in str(result.error)


@pytest.mark.parametrize(
    "text",
    [
        "create table shared.deals (id int)",
        "alter table shared.tenants add a int",
        "create table shared.x as select 1; alter table shared.x add a int",
        "select set_config('search_path', 'shared', true); create table deals (id int)",
    ],
)
def test_other_schemas_are_out_of_reach(scratch_database: ScratchDatabase, text: str) -> None:
    (result,) = run(scratch_database, text).failed
    assert "outside of the schema" in str(result.error)


@pytest.mark.parametrize(
    "text",
    [
        "do $$ begin create type mood as enum ('a'); end $$",
        "do $$ begin create domain email as text; end $$",
        "do $$ begin create type pair as (a int, b int); end $$",
        "do $$ begin create type span as range (subtype = int4); end $$",
    ],
)
def test_a_type_from_within_a_block_is_found(scratch_database: ScratchDatabase, text: str) -> None:
    (result,) = run(scratch_database, text).failed
    assert "it makes the type" in str(result.error)


@pytest.mark.parametrize(
    "text",
    [
        "create table deals (id int primary key, of text references shared.tenants)",
        "create table deals as select * from people",
        "create view busy as select * from people",
        "insert into people values (1); update people set at = now(); delete from people",
        "create table deals (id int); drop table deals; create table deals (id int)",
        "create table deals (like people including all)",
        "create function f() returns int language sql as 'select 1'",
        "create table deals (id int generated always as identity, tags text[], body text);"
        " create index on deals (id); alter table deals add foreign key (id) references deals2;",
    ],
)
def test_ones_own_and_reading_is_allowed(scratch_database: ScratchDatabase, text: str) -> None:
    if "deals2" in text:
        text = "create table deals2 (id int primary key);" + text
    report = run(scratch_database, text)
    assert report.exit_code == 0, report.to_table()


def test_ones_own_relations_may_be_altered_later(scratch_database: ScratchDatabase) -> None:
    text = (
        "alter table people add a int; create index on people (a); drop view recent;"
        "create table p1 partition of parted for values from (1) to (2); alter table people rename to persons"
    )
    report = run(scratch_database, text, "contact")
    assert report.exit_code == 0, report.to_table()
    assert scratch_database.rows(
        "select version, relations from tenant_acme.mtenant_ledger order by 1"
    ) == [
        (1, ["parted", "people", "recent", "serials", "serials_id_seq"]),
        (2, ["p1", "persons"]),
    ]


def test_a_name_that_became_free_may_be_anybodys(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    drop = Migration.of("contact", 2, "drop", "drop view recent; drop table people")
    take = Migration.of("deal", 3, "take", "create table people (id int)")

    async def main() -> Report:
        return await migrated(db, drop, take)

    assert asyncio.run(main()).exit_code == 0


def test_a_table_made_by_hand_belongs_to_nobody(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> Report:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([CONTACT]))
            await provision(db.deploy, "acme", settings=db.settings)
            db.rows(f"set role {db.settings.owner}; create table tenant_acme.hand (id int)")
            await fleet.register(
                History([Migration.of("deal", 1, "x", "alter table hand add a int")])
            )
            return await fleet.up()

    assert asyncio.run(main()).exit_code == 0
    assert db.rows("select relations from tenant_acme.mtenant_ledger where component = 'deal'") == [
        (["hand"],)
    ]
