from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from mtenant_database.migrate import (
    Drift,
    Fleet,
    History,
    MigrateSettings,
    Migration,
    MigrationFailed,
    RequirementMissing,
    Tenant,
    TenantExists,
    UnknownTenant,
    drop,
    find_drift,
    list_tenants,
    provision,
    resume,
    suspend,
)
from mtenant_database.tenant_id import InvalidTenantId

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

AUTH = Migration.of("auth", 1, "users", "create table users (id int primary key)")
PEOPLE = Migration.of(
    "contact", 1, "people", "-- migrate: requires auth>=1\ncreate table people (id int primary key)"
)
EMAIL = Migration.of(
    "contact", 2, "email", "alter table people add email text", "alter table people drop email"
)
FILES = History([AUTH, PEOPLE, EMAIL])


async def registered(db: ScratchDatabase, files: History = FILES) -> None:
    async with Fleet(db.deploy, settings=db.settings) as fleet:
        await fleet.install()
        await fleet.register(files)


def status(db: ScratchDatabase) -> list[tuple[object, ...]]:
    return db.rows("select id, status from shared.tenants order by 1")


def test_a_new_tenant_gets_every_component_in_the_order_of_its_requirements(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        await registered(db)
        steps = await provision(db.deploy, "acme", settings=db.settings)
        assert [str(done.step.migration) for done in steps] == [
            "auth 1 users",
            "contact 1 people",
            "contact 2 email",
        ]
        assert [(tenant.id, tenant.status, tenant.versions) for tenant in await listed(db)] == [
            ("acme", "active", {"auth": 1, "contact": 2})
        ]

    async def listed(db: ScratchDatabase) -> list[Tenant]:
        return await list_tenants(db.deploy, size=True, settings=db.settings)

    asyncio.run(main())
    with psycopg.connect(db.app, autocommit=True) as conn:
        conn.execute("insert into tenant_acme.people values (1, 'a@example.com')")
        assert conn.execute("select count(*) from tenant_acme.people").fetchone() == (1,)
        for statement in ("truncate tenant_acme.people", "drop table tenant_acme.people"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


def test_a_tenant_is_made_once(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await registered(db)
        await provision(db.deploy, "acme", settings=db.settings)
        with pytest.raises(TenantExists, match="tenant acme is active already"):
            await provision(db.deploy, "acme", settings=db.settings)
        db.rows(f"create schema tenant_left authorization {db.settings.owner}")
        with pytest.raises(TenantExists, match="the registry does not know it"):
            await provision(db.deploy, "left", settings=db.settings)

    asyncio.run(main())
    assert status(db) == [("acme", "active")]


@pytest.mark.parametrize(
    "tenant", ["", "Acme", "a-b", "a" * 57, "x; drop schema shared", 'a"b', "ä"]
)
def test_what_is_no_tenant_id_reaches_no_server(tenant: str) -> None:
    nowhere = "postgresql://127.0.0.1:1/none"
    for attempt in (provision, drop, suspend, resume):
        with pytest.raises(InvalidTenantId):
            asyncio.run(attempt(nowhere, tenant))


def test_one_that_failed_is_resumed_where_it_stopped(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    broken = Migration.of("contact", 3, "broken", "select 1/0", "select 0")
    mended = Migration.of("contact", 3, "broken", "select 1/1", "select 0")

    async def main() -> None:
        await registered(db, History([*FILES, broken]))
        with pytest.raises(MigrationFailed, match="division by zero"):
            await provision(db.deploy, "acme", settings=db.settings)
        (tenant,) = await list_tenants(db.deploy, settings=db.settings)
        assert (tenant.status, tenant.versions["contact"]) == ("provisioning", 2)
        assert "division by zero" in str(tenant.error)
        await registered(db, History([*FILES, mended]))
        steps = await provision(db.deploy, "acme", settings=db.settings)
        assert [done.step.migration.version for done in steps] == [3]
        (tenant,) = await list_tenants(db.deploy, settings=db.settings)
        assert (tenant.status, tenant.error) == ("active", None)

    asyncio.run(main())


def test_the_application_cannot_use_a_tenant_that_is_not_ready(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        await registered(db, History([*FILES, Migration.of("contact", 3, "x", "select 1/0")]))
        with pytest.raises(MigrationFailed):
            await provision(db.deploy, "acme", settings=db.settings)
        with (
            psycopg.connect(db.app, autocommit=True) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("select * from tenant_acme.people")
        await drop(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    assert status(db) == []


def test_several_at_once_make_one_tenant(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> list[object]:
        await registered(db)
        return await asyncio.gather(
            *(provision(db.deploy, "acme", settings=db.settings) for _ in range(5)),
            return_exceptions=True,
        )

    found = asyncio.run(main())
    assert all(isinstance(one, list | TenantExists) for one in found), found
    assert sum(len(one) for one in found if isinstance(one, list)) == 3
    assert status(db) == [("acme", "active")]


def test_with_nothing_registered_a_tenant_is_an_empty_schema(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.install()
        assert await provision(db.deploy, "acme", settings=db.settings) == []

    asyncio.run(main())
    assert status(db) == [("acme", "active")]


def test_a_requirement_that_is_not_registered_is_an_error(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        await registered(db, History([PEOPLE]))
        with pytest.raises(RequirementMissing, match="contact 1 people requires auth>=1"):
            await provision(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())


def test_a_suspended_tenant_is_closed_and_still_migrated(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await registered(db, History([AUTH, PEOPLE]))
        await provision(db.deploy, "acme", settings=db.settings)
        await suspend(db.deploy, "acme", settings=db.settings)
        with pytest.raises(UnknownTenant, match="no tenant acme that is active"):
            await suspend(db.deploy, "acme", settings=db.settings)
        with psycopg.connect(db.app, autocommit=True) as conn:
            for role in ("app", "owner"):
                with (
                    psycopg.connect(getattr(db, role), autocommit=True) as other,
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                ):
                    other.execute("select * from tenant_acme.people")
        await registered(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            assert [one.outcome for one in (await fleet.up()).results] == ["migrated"]
            assert not (await fleet.up()).results
        assert status(db) == [("acme", "suspended")]
        with (
            psycopg.connect(db.owner, autocommit=True) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("select * from tenant_acme.people")
        await resume(db.deploy, "acme", settings=db.settings)
        with pytest.raises(UnknownTenant, match="no tenant acme that is suspended"):
            await resume(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    with psycopg.connect(db.app, autocommit=True) as conn:
        conn.execute("select email from tenant_acme.people")


def test_with_one_role_for_everything_suspension_holds_too(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        async with Fleet(db.owner) as fleet:
            await fleet.install()
            await fleet.register(History([AUTH, PEOPLE]))
            await provision(db.owner, "acme")
            await suspend(db.owner, "acme")
            with (
                psycopg.connect(db.owner, autocommit=True) as conn,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                conn.execute("select * from tenant_acme.people")
            await fleet.register(FILES)
            assert (await fleet.up()).exit_code == 0
            await resume(db.owner, "acme")
            with psycopg.connect(db.owner, autocommit=True) as conn:
                conn.execute("select email from tenant_acme.people")
            await suspend(db.owner, "acme")
            await drop(db.owner, "acme")

    asyncio.run(main())
    assert status(db) == []


def test_a_tenant_with_more_tables_than_a_chunk_is_dropped_and_a_cut_drop_is_finished(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    many = "".join(
        f"create table t{n} (id int primary key, up int references t{max(n - 1, 0)});"
        for n in range(120)
    )

    async def main() -> None:
        await registered(db, History([Migration.of("many", 1, "x", many)]))
        await provision(db.deploy, "acme", settings=db.settings)
        # Somebody uses a table that comes late: the drop gets as far as that.
        hasty = MigrateSettings(
            owner=db.settings.owner, attempts=1, lock_timeout=db.settings.lock_timeout / 30
        )
        with psycopg.connect(db.admin) as other:
            other.execute("select * from tenant_acme.t0")
            with pytest.raises(MigrationFailed):
                await drop(db.deploy, "acme", settings=hasty)
            assert status(db) == [("acme", "dropping")]
            left = len(db.tables("tenant_acme"))
            assert 0 < left < 120
        with pytest.raises(TenantExists, match="dropping"):
            await provision(db.deploy, "acme", settings=db.settings)
        await drop(db.deploy, "acme", settings=db.settings)
        with pytest.raises(UnknownTenant):
            await drop(db.deploy, "acme", settings=db.settings)

    asyncio.run(main())
    assert db.value("select to_regnamespace('tenant_acme')") is None
    assert db.rows("select * from shared.tenant_versions") == []


def test_drift_is_told_thing_by_thing(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    rich = Migration.of(
        "contact",
        3,
        "rich",
        "create table notes (id serial primary key, people int references people, body text"
        " default 'x', constraint short check (length(body) < 9));"
        "create index notes_body on notes (body);"
        "create view recent as select id, body from notes;"
        "create function f() returns int language sql as 'select 1';"
        "create trigger t before update on notes for each row execute function"
        " pg_catalog.suppress_redundant_updates_trigger();"
        "create policy p on notes using (people > 0)",
    )

    async def main() -> list[Drift]:
        await registered(db, History([*FILES, rich]))
        for tenant in ("a", "b", "c", "d"):
            await provision(db.deploy, tenant, settings=db.settings)
        await suspend(db.deploy, "d", settings=db.settings)
        assert await find_drift(db.deploy, settings=db.settings) == []
        db.rows("alter table tenant_b.people add oops int")
        db.rows(
            "drop index tenant_c.notes_body; alter table tenant_c.notes alter body drop default"
        )
        db.rows("create or replace function tenant_d.f() returns int language sql as 'select 2'")
        return await find_drift(db.deploy, settings=db.settings)

    b, c, d = asyncio.run(main())
    assert b == Drift("b", "a", (), ("column people.oops integer",))
    assert (c.tenant, c.extra) == ("c", ("column notes.body text",))
    assert c.missing == (
        "column notes.body text default 'x'::text",
        "index notes_body CREATE INDEX notes_body ON notes USING btree (body)",
    )
    assert (d.tenant, len(d.missing), len(d.extra)) == ("d", 1, 1)
