from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from mtenant_database.migrate import (
    ChecksumMismatch,
    Fleet,
    History,
    Migration,
    MigrationMissing,
    NotInstalled,
    OutOfOrder,
    OwnerUnsafe,
    RuleBroken,
    provision,
)
from mtenant_database.migrate.registration import compare

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]


def migration(version: int, text: str = "", down: str | None = None) -> Migration:
    return Migration.of("contact", version, f"m{version}", text or f"select {version}", down)


ONE, TWO, THREE = migration(1), migration(2), migration(3)
CONTRACT = migration(2, "-- migrate: contract\nselect 2")


def test_new_changed_and_mended_are_told_apart() -> None:
    files = History(
        [ONE, migration(2, "select 'other'"), migration(3, down="select 0"), migration(4)]
    )
    found = compare(files, History([ONE, TWO, THREE]))
    assert [
        [one.version for one in group] for group in (found.new, found.changed, found.mended)
    ] == [
        [4],
        [2],
        [3],
    ]


def test_an_older_release_changes_nothing() -> None:
    found = compare(History([ONE, TWO]), History([ONE, TWO, THREE]))
    assert found == compare(History([ONE]), History([ONE]))


def test_a_hole_is_an_error() -> None:
    with pytest.raises(MigrationMissing, match="contact 2 m2 is in the registry"):
        compare(History([ONE, THREE]), History([ONE, TWO]))


def test_a_new_file_below_the_newest_is_out_of_order_but_a_contract_one_waits_apart() -> None:
    with pytest.raises(OutOfOrder, match="contact 2 m2 is new"):
        compare(History([ONE, TWO, THREE]), History([ONE, THREE]))
    assert compare(History([ONE, CONTRACT, THREE]), History([ONE, THREE])).new == (CONTRACT,)
    later = migration(3, "-- migrate: contract\nselect 3")
    with pytest.raises(OutOfOrder):
        compare(History([ONE, CONTRACT, later]), History([ONE, later]))


def test_rules_are_checked_before_anything_is_registered(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    bad = Migration.of("deal", 1, "x", "create type mood as enum ('a')")

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            with pytest.raises(RuleBroken, match="CREATE TYPE"):
                await fleet.register(History([ONE, bad]))

    asyncio.run(main())
    assert db.rows("select * from shared.migrations") == []
    assert db.rows("select * from shared.components") == []


def test_installing_and_registering_twice_changes_nothing(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    everything = (
        "select (select json_agg(m order by version) from shared.migrations m)::text,"
        " (select json_agg(c) from shared.components c)::text,"
        " (select json_agg(l) from shared.mtenant_ledger l)::text"
    )

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([ONE, TWO]))
            before = db.rows(everything)
            await fleet.install()
            changes = await fleet.register(History([ONE, TWO]))
            assert changes["contact"] == compare(History(), History())
            assert db.rows(everything) == before

    asyncio.run(main())


def test_several_may_install_and_register_at_once(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def one() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([ONE, TWO]))

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    asyncio.run(main())
    assert db.rows("select name, head from shared.components") == [("contact", 2)]


def test_a_changed_file_is_taken_until_a_tenant_has_it(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([ONE, TWO]))
            changed = History([ONE, migration(2, "select 'mended'")])
            found = await fleet.register(changed)
            assert [one.version for one in found["contact"].changed] == [2]
            await provision(db.deploy, "acme", settings=db.settings)
            with pytest.raises(ChecksumMismatch, match="applied to a tenant"):
                await fleet.register(History([ONE, TWO]))
            mended = await fleet.register(
                History([ONE, migration(2, "select 'mended'", "select 'down'")])
            )
            assert [one.version for one in mended["contact"].mended] == [2]
            await fleet.rollback("contact", 1)
            assert (await fleet.register(History([ONE, TWO])))["contact"].changed == (TWO,)
            assert (await fleet.up()).exit_code == 0

    asyncio.run(main())
    assert db.rows("select version from tenant_acme.mtenant_ledger order by 1") == [(1,), (2,)]


def test_without_a_registry_it_is_said_what_to_do(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            for attempt in (fleet.up(), fleet.status(), fleet.register(History([ONE]))):
                with pytest.raises(NotInstalled, match="mtenant-db migrate register"):
                    await attempt
        with pytest.raises(NotInstalled):
            await provision(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    assert db.rows("select nspname from pg_namespace where nspname like 'tenant%'") == []


def test_a_newer_registry_is_not_touched(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            db.rows(
                "insert into shared.mtenant_ledger (component, version, name, checksum, contract,"
                " state, position) values ('mtenant', 99, 'x', '', false, 'applied', 99)"
            )
            with pytest.raises(NotInstalled, match="upgrade mtenant-database"):
                await fleet.install()

    asyncio.run(main())


def test_no_superuser_registers(scratch_database: ScratchDatabase) -> None:
    async def main() -> None:
        async with Fleet(scratch_database.admin) as fleet:
            with pytest.raises(OwnerUnsafe):
                await fleet.install()

    asyncio.run(main())
    assert scratch_database.value("select to_regnamespace('shared')") is None


def test_the_application_reads_the_registry_and_writes_none_of_it(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
            await fleet.register(History([ONE]))
            await provision(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    with psycopg.connect(db.app, autocommit=True) as conn:
        assert conn.execute("select id, status from shared.tenants").fetchall() == [
            ("acme", "active")
        ]
        assert conn.execute("select version from tenant_acme.mtenant_ledger").fetchall() == [(1,)]
        for statement in (
            "insert into shared.tenants (id) values ('x')",
            "update shared.components set head = 9",
            "update shared.migrations set up = ''",
            "select up from shared.migrations",
            "delete from shared.tenant_versions",
            "delete from tenant_acme.mtenant_ledger",
            "create table shared.x (id int)",
            "create table tenant_acme.x (id int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())
