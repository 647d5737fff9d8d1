from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mtenant_database.migrate import (
    AdoptionRefused,
    Fleet,
    History,
    Migration,
    Migrator,
    RuleBroken,
)
from mtenant_database.migrate.adoption import adopted

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

FILES = History(
    [
        Migration.of("crm", 1, "people", "create table people (id int)", "drop table people"),
        Migration.of("crm", 2, "email", "alter table people add email text"),
        Migration.of("crm", 3, "notes", "create table notes (id int)"),
    ]
)


def versions(found: list[Migration]) -> list[int]:
    return [one.version for one in found]


def test_golang_migrate_says_up_to_which() -> None:
    assert versions(adopted(FILES, "golang-migrate", "t", [[2, False]])) == [1, 2]
    assert adopted(FILES, "golang-migrate", "t", []) == []


def test_yoyo_says_each() -> None:
    assert versions(adopted(FILES, "yoyo", "t", ["0002.email", "0001.people"])) == [1, 2]
    assert adopted(FILES, "yoyo", "t", []) == []


@pytest.mark.parametrize(
    ("tool", "rows", "problem"),
    [
        ("golang-migrate", [[2, True]], "version 2 is dirty"),
        ("golang-migrate", [[7, False]], "it is at 7, which is no file here"),
        ("golang-migrate", [[1, False], [2, False]], "more than one row"),
        ("yoyo", ["0009.x"], "it knows 0009.x, which is no file here"),
        ("yoyo", ["people"], "it knows people, which is no file here"),
        ("yoyo", ["0001.people", "0003.notes"], "crm 2 email is not applied, and later ones are"),
    ],
)
def test_what_does_not_fit_is_refused(tool: str, rows: list[object], problem: str) -> None:
    with pytest.raises(AdoptionRefused) as info:
        adopted(FILES, tool, "t", rows)  # type: ignore[arg-type]  # one of the two
    assert problem in info.value.message


@pytest.fixture
def crm(scratch_database: ScratchDatabase) -> ScratchDatabase:
    """A schema at version 2 that golang-migrate has made."""
    db = scratch_database
    db.rows(
        f"create schema tenant_acme authorization {db.settings.owner}; set role {db.settings.owner};"
        " set search_path to tenant_acme; create table people (id int, email text);"
        " create table schema_migrations (version bigint primary key, dirty boolean not null);"
        " insert into schema_migrations values (2, false)"
    )
    return db


def test_a_schema_is_adopted_and_goes_on_from_there(crm: ScratchDatabase) -> None:
    async def main() -> None:
        async with Migrator(crm.deploy, FILES, schema="tenant_acme", settings=crm.settings) as one:
            assert [entry.version for entry in await one.adopt("golang-migrate")] == [1, 2]
            assert await one.adopt("golang-migrate") == []
            assert [done.step.migration.version for done in await one.up()] == [3]
            with pytest.raises(AdoptionRefused, match="there is no such table of yoyo"):
                await one.adopt("yoyo")
            with pytest.raises(AdoptionRefused, match="it is no table of yoyo"):
                await one.adopt("yoyo", table="people")

    asyncio.run(main())
    assert crm.rows("select version, relations from tenant_acme.mtenant_ledger order by 1") == [
        (1, []),
        (2, ["people"]),
        (3, ["notes"]),
    ]


def test_a_tenant_is_adopted_into_the_registry(crm: ScratchDatabase) -> None:
    foreign = Migration.of("deal", 1, "x", "alter table people add oops int")

    async def main() -> None:
        async with Fleet(crm.deploy, settings=crm.settings) as fleet:
            await fleet.install()
            await fleet.register(FILES)
            entries = await fleet.adopt("acme", "crm", "golang-migrate")
            assert [entry.version for entry in entries] == [1, 2]
            (standing,) = (await fleet.status())["acme"]
            assert (standing.version, standing.behind) == (2, True)
            assert (await fleet.up()).exit_code == 0
            await fleet.register(History([foreign]))
            assert (await fleet.up()).failed[0].code == RuleBroken.code
            with pytest.raises(AdoptionRefused, match="there is no such schema"):
                await fleet.adopt("nobody", "crm", "golang-migrate")

    asyncio.run(main())
    assert crm.rows("select id, status from shared.tenants") == [("acme", "active")]


def test_a_refused_adoption_leaves_the_tenant_out_of_the_registry(crm: ScratchDatabase) -> None:
    crm.rows("update tenant_acme.schema_migrations set dirty = true")

    async def main() -> None:
        async with Fleet(crm.deploy, settings=crm.settings) as fleet:
            await fleet.install()
            await fleet.register(FILES)
            with pytest.raises(AdoptionRefused, match="is dirty"):
                await fleet.adopt("acme", "crm", "golang-migrate")
            # Else the next run would start from the first file, on tables that are there.
            assert (await fleet.up()).results == []

    asyncio.run(main())
    assert crm.rows("select id from shared.tenants") == []
    assert crm.tables("tenant_acme") == {"people", "schema_migrations"}
    assert crm.value("select to_regclass('tenant_acme.mtenant_ledger')") is None


def test_two_who_adopt_a_tenant_at_once_write_each_row_once(crm: ScratchDatabase) -> None:
    async def adopt() -> int:
        async with Fleet(crm.deploy, settings=crm.settings) as fleet:
            return len(await fleet.adopt("acme", "crm", "golang-migrate"))

    async def main() -> list[int]:
        async with Fleet(crm.deploy, settings=crm.settings) as fleet:
            await fleet.install()
            await fleet.register(FILES)
        return list(await asyncio.gather(adopt(), adopt(), adopt()))

    assert sorted(asyncio.run(main())) == [0, 0, 2]
    assert crm.value("select count(*) from tenant_acme.mtenant_ledger") == 2
