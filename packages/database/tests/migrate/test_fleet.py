from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from mtenant_database.migrate import (
    ContractRefused,
    Fleet,
    History,
    Migration,
    Report,
    Result,
    Rollout,
    UnknownTenant,
    UnknownVersion,
    drop,
    provision,
    resume,
    suspend,
)
from mtenant_database.migrate.ledger import lock_key

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]

PEOPLE = Migration.of(
    "contact", 1, "people", "create table people (id int, name text)", "drop table people"
)
TENANTS = ["t0", "t1", "t2", "t3", "t4", "t5"]


def column(version: int, text: str = "") -> Migration:
    return Migration.of(
        "contact",
        version,
        f"c{version}",
        text or f"alter table people add c{version} int",
        f"alter table people drop c{version}",
    )


async def fleet_of(db: ScratchDatabase, tenants: list[str] = TENANTS, *files: Migration) -> None:
    async with Fleet(db.deploy, settings=db.settings) as fleet:
        await fleet.install()
        await fleet.register(History([PEOPLE, *files]))
    for tenant in tenants:
        await provision(db.deploy, tenant, settings=db.settings)


def versions(db: ScratchDatabase) -> dict[object, object]:
    return dict(
        db.rows("select tenant, version from shared.tenant_versions where component = 'contact'")  # type: ignore[arg-type]  # two columns
    )


def outcomes(report: Report) -> dict[str, str]:
    return {one.tenant: one.outcome for one in report.results}


def test_every_tenant_gets_what_is_registered_and_then_there_is_nothing_to_do(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2), column(3)]))
            report = await fleet.up(rollout=Rollout(parallel=3, wave=2))
            assert [one.steps for one in report.results] == [
                ("contact 2 c2 (up)", "contact 3 c3 (up)")
            ] * 6
            again = await fleet.up()
            assert (again.results, again.exit_code, again.to_table()) == ([], 0, "nothing to do")
            standings = await fleet.status(["t3"])
            assert [(one.version, one.behind) for one in standings["t3"]] == [(3, False)]

    asyncio.run(main())
    assert versions(db) == dict.fromkeys(TENANTS, 3)


def test_nothing_to_do_is_one_query(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> int:
        await fleet_of(db, TENANTS)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            sent = 0
            run = fleet._link.run

            async def counted(text: str) -> object:
                nonlocal sent
                sent += 1
                return await run(text)

            fleet._link.run = counted  # type: ignore[method-assign, assignment]  # counts and passes on
            await fleet.up()
            return sent

    assert asyncio.run(main()) == 1


def test_only_the_tenants_that_are_named(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            report = await fleet.up(tenants=["t1", "t4"])
            assert outcomes(report) == {"t1": "migrated", "t4": "migrated"}

    asyncio.run(main())


def test_a_slip_of_the_pen_is_not_nothing_to_do(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db, ["t0"])
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            slips = [
                fleet.up(tenants=["t0", "t00"]),
                fleet.up(rollout=Rollout(canary=("t0", "t00"))),
                fleet.to("contact", 2, tenants=["t00"]),
                fleet.rollback("contact", 1, rollout=Rollout(canary=("t00",))),
                fleet.status(["t00"]),
                fleet.repair("retry", tenants=["t00"]),
            ]
            for slip in slips:
                with pytest.raises(UnknownTenant, match="no tenant t00 that is active"):
                    await slip
            with pytest.raises(UnknownVersion, match="nothing is registered of contract"):
                await fleet.up(["contact", "contract"])

    asyncio.run(main())
    assert versions(db) == {"t0": 1}


def test_to_and_rollback_and_below(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db, TENANTS[:3], column(2), column(3))
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.to("contact", 2, tenants=["t0"])
            assert versions(db) == {"t0": 2, "t1": 3, "t2": 3}
            assert outcomes(await fleet.up()) == {"t0": "migrated"}  # only that one was moved
            await fleet.to("contact", 2, tenants=["t0"])
            assert await fleet.below("contact", 1) == 2
            assert await fleet.below("contact", 9) == 0
            assert outcomes(await fleet.rollback("contact", 2)) == {
                "t1": "migrated",
                "t2": "migrated",
            }
            # It is where new tenants are wanted, too, and `up` does not undo it.
            await provision(db.deploy, "new", settings=db.settings)
            assert (await fleet.up()).results == []
            assert versions(db) == {"t0": 2, "t1": 2, "t2": 2, "new": 2}
            assert (await fleet.rollback("contact", 2)).results == []
            await fleet.to("contact", 3)
            assert set(versions(db).values()) == {3}
            await fleet.rollback("contact", 0)
            assert versions(db) == {}
            # Whoever registers says again where the fleet is wanted.
            await fleet.register(History([PEOPLE, column(2), column(3)]))
            assert (await fleet.up()).exit_code == 0
            for component, version in (("contact", 9), ("nobody", 1)):
                with pytest.raises(UnknownVersion):
                    await fleet.rollback(component, version)
            with pytest.raises(UnknownVersion, match="no tenant has"):
                await fleet.below("nobody", 1)
            with pytest.raises(ValueError, match="1 or more"):
                await fleet.below("contact", 0)

    asyncio.run(main())
    assert set(versions(db).values()) == {3}


FAILS_IN = (
    "do $$ begin if current_schema() = any ('{%s}') then raise exception 'not here'"
    " using errcode = 'P0042'; end if; end $$"
)


def failing(version: int, *tenants: str) -> Migration:
    return column(version, FAILS_IN % ",".join(f"tenant_{name}" for name in tenants))


def test_a_canary_that_fails_stops_the_run(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, failing(2, "t3")]))
            report = await fleet.up(rollout=Rollout(canary=("t3",), max_failures=5))
            assert report.exit_code == 1
            assert report.aborted == "the canary t3 failed"
            assert outcomes(report) == {"t3": "failed"} | {
                name: "skipped" for name in TENANTS if name != "t3"
            }

    asyncio.run(main())
    assert set(versions(db).values()) == {1}


def test_within_the_budget_the_others_are_migrated_and_the_rest_is_resumed(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, failing(2, "t3", "t5")]))
            report = await fleet.up(rollout=Rollout(max_failures=2))
            assert (report.exit_code, report.aborted) == (3, None)
            assert sorted(one.tenant for one in report.failed) == ["t3", "t5"]
            assert [one.sqlstate for one in report.failed] == ["P0042", "P0042"]
            text = report.to_table()
            assert "2 failed, 4 migrated" in text
            assert "P0042 in 2: t3, t5" in text
            figures = json.loads(report.to_json())
            assert figures["counts"] == {"migrated": 4, "failed": 2}
            assert figures["exit_code"] == 3
            again = await fleet.up(rollout=Rollout(canary=0, max_failures=2))
            assert outcomes(again) == {"t3": "failed", "t5": "failed"}

    asyncio.run(main())
    assert versions(db) == {name: 1 if name in ("t3", "t5") else 2 for name in TENANTS}


def test_beyond_the_budget_no_other_is_begun(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> Report:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, failing(2, "t1", "t2", "t3", "t4", "t5")]))
            return await fleet.up(rollout=Rollout(max_failures=1, parallel=1))

    report = asyncio.run(main())
    assert (report.exit_code, report.aborted) == (1, "2 tenants failed, and 1 may")
    assert [*outcomes(report).values()] == ["migrated", "failed", "failed", *["skipped"] * 3]


def test_contract_migrations_wait_for_everybody(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    contract = Migration.of(
        "contact", 2, "shed", "-- migrate: contract requires deal>=2\nalter table people drop name"
    )
    deals = [Migration.of("deal", 1, "d", "create table deals (id int)"),
             Migration.of("deal", 2, "e", "alter table deals add e int")]  # fmt: skip

    async def main() -> None:
        await fleet_of(db, TENANTS[:2])
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, contract, column(3), *deals]))
            await fleet.up(["contact"])
            assert versions(db) == {"t0": 3, "t1": 3}
            await fleet.up(["deal"], tenants=["t1"])
            with pytest.raises(ContractRefused, match=r"requires deal>=2 of every tenant.*: t0"):
                await fleet.up(contract=True)
            await fleet.up()
            await provision(db.deploy, "before", settings=db.settings)
            report = await fleet.up(["contact"], contract=True)
            assert outcomes(report) == dict.fromkeys(["before", "t0", "t1"], "migrated")
            # Released: a new tenant gets it, and plain `up` finishes what was interrupted.
            await provision(db.deploy, "after", settings=db.settings)
            assert (await fleet.up()).results == []
            await fleet.rollback("contact", 3)
            assert (await fleet.up()).results == []

    asyncio.run(main())
    names = db.rows(
        "select distinct string_agg(column_name, ',' order by column_name) from"
        " information_schema.columns where table_name = 'people' group by table_schema"
    )
    assert names == [("c3,id",)]


def test_a_tenant_that_is_dropped_meanwhile_is_a_failure_that_says_so(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> Report:
        await fleet_of(db, ["a", "b"])
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            slow = column(2, "alter table people add c2 int; select pg_sleep(0.3)")
            await fleet.register(History([PEOPLE, slow]))
            run = asyncio.create_task(fleet.up(rollout=Rollout(max_failures=1)))
            async with asyncio.timeout(30):
                while not db.value(
                    "select count(*) from pg_stat_activity where query like '%pg_sleep(0.3)%'"
                    " and application_name = 'mtenant-db' and datname = current_database()"
                ):
                    await asyncio.sleep(0.01)
            await drop(db.deploy, "b", settings=db.settings)
            return await run

    report = asyncio.run(main())
    assert outcomes(report) == {"a": "migrated", "b": "failed"}
    assert report.failed[0].code == "TENANT_UNKNOWN"


def test_two_runs_at_once_share_the_work(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def up() -> Report:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            return await fleet.up(rollout=Rollout(parallel=3))

    async def main() -> list[Report]:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, *(column(n) for n in range(2, 6))]))
        return list(await asyncio.gather(up(), up()))

    reports = asyncio.run(main())
    assert [report.exit_code for report in reports] == [0, 0]
    steps = [
        (one.tenant, step) for report in reports for one in report.results for step in one.steps
    ]
    assert len(steps) == len({*steps}) == 24
    assert versions(db) == dict.fromkeys(TENANTS, 5)


def test_a_tenant_made_while_a_run_and_a_register_go_on_ends_at_the_newest(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    newest = 8

    async def deploys() -> None:
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            for last in range(2, newest + 1):
                await fleet.register(History([PEOPLE, *(column(n) for n in range(2, last + 1))]))
                await fleet.register(
                    History(
                        [Migration.of(f"service{last}", 1, "x", f"create table s{last} (id int)")]
                    )
                )
                report = await fleet.up(rollout=Rollout(parallel=2))
                assert report.exit_code == 0, report.to_table()

    async def sign_ups(name: str) -> None:
        for number in range(6):
            await provision(db.deploy, f"{name}{number}", settings=db.settings)

    async def main() -> None:
        await fleet_of(db, ["first"])
        await asyncio.gather(deploys(), sign_ups("x"), sign_ups("y"))
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            assert (await fleet.up()).exit_code == 0

    asyncio.run(main())
    assert db.rows("select distinct status from shared.tenants") == [("active",)]
    assert len(versions(db)) == 13
    assert {*versions(db).values()} == {newest}
    assert (
        db.rows("select count(*) from shared.tenant_versions group by tenant having count(*) <> 8")
        == []
    )


def test_a_registration_waits_for_a_tenant_that_is_being_activated(
    scratch_database: ScratchDatabase,
) -> None:
    # The lock on which the test before this one rests, by itself.
    db = scratch_database

    async def main() -> None:
        await fleet_of(db, [])
        with psycopg.connect(db.admin) as activation:
            activation.execute("select * from shared.components for share")
            async with Fleet(db.deploy, settings=db.settings) as fleet:
                new = History([Migration.of("deal", 1, "x", "create table deals (id int)")])
                task = asyncio.create_task(fleet.register(new))
                async with asyncio.timeout(30):
                    while not db.value("select count(*) from pg_locks where not granted"):
                        await asyncio.sleep(0.01)
                activation.commit()
                await task

    asyncio.run(main())


def test_a_cancelled_run_is_resumed_by_the_next(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2), column(3)]))
            cancelled = 0
            for delay in (0.0, 0.001, 0.003, 0.005, 0.01, 0.02):
                run = asyncio.create_task(fleet.up(rollout=Rollout(parallel=2)))
                await asyncio.wait([run], timeout=delay)
                cancelled += run.cancel()
                await asyncio.wait([run])
            assert cancelled
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            assert (await fleet.up()).exit_code == 0

    asyncio.run(main())
    assert versions(db) == dict.fromkeys(TENANTS, 3)
    for tenant in TENANTS:
        assert db.rows(f"select version, state from tenant_{tenant}.mtenant_ledger") == [
            (1, "applied"),
            (2, "applied"),
            (3, "applied"),
        ]


def test_a_cache_that_is_wrong_is_mended_by_the_ledger(scratch_database: ScratchDatabase) -> None:
    db = scratch_database

    async def main() -> None:
        await fleet_of(db, TENANTS[:3], column(2))
        db.rows("delete from shared.tenant_versions where tenant = 't1'")
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            report = await fleet.up()
            assert [(one.tenant, one.outcome, one.steps) for one in report.results] == [
                ("t1", "migrated", ())
            ]

    asyncio.run(main())
    assert versions(db) == dict.fromkeys(TENANTS[:3], 2)


def test_a_schema_that_somebody_holds_is_one_failure_and_not_the_end(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database

    async def main() -> Report:
        await fleet_of(db, TENANTS[:3])
        settings = type(db.settings)(
            owner=db.settings.owner, app=db.settings.app, lock_wait=db.settings.lock_wait / 50
        )
        async with Fleet(db.deploy, settings=settings) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            with psycopg.connect(db.admin) as other:
                other.execute("select pg_advisory_xact_lock(%s)", [lock_key("tenant_t1")])
                return await fleet.up(rollout=Rollout(max_failures=1))

    report = asyncio.run(main())
    assert outcomes(report) == {"t0": "migrated", "t1": "failed", "t2": "migrated"}
    assert report.failed[0].code == "MIGRATION_SCHEMA_BUSY"


@pytest.mark.parametrize(
    "options",
    [{"canary": -1}, {"wave": 0}, {"parallel": 0}, {"parallel": 101}, {"max_failures": -1},
     {"max_failures": "101%"}, {"max_failures": "some"}],
)  # fmt: skip
def test_a_rollout_that_makes_no_sense_is_refused(options: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=r"canary|wave|parallel|max_failures|at once"):
        Rollout(**options)  # type: ignore[arg-type]  # that is the test


def test_progress_is_told_of_each_tenant(scratch_database: ScratchDatabase) -> None:
    db = scratch_database
    seen: list[object] = []

    class Ear:
        def planned(self, count: int) -> None:
            seen.append(count)

        def finished(self, result: Result) -> None:
            seen.append(result.tenant)

    async def main() -> None:
        await fleet_of(db, TENANTS[:2])
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            await fleet.up(progress=Ear())

    asyncio.run(main())
    assert seen == [2, "t0", "t1"]


class Saboteur:
    """Does something once, when the first tenant is done."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    def planned(self, count: int) -> None:
        pass

    def finished(self, result: Result) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()


def kill_all(db: ScratchDatabase) -> None:
    db.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


def test_a_run_outlives_its_connections(scratch_database: ScratchDatabase) -> None:
    """The one that asks what is left idles for hours, and routers forget such connections."""
    db = scratch_database

    async def main() -> Report:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            return await fleet.up(progress=Saboteur(lambda: kill_all(db)))

    assert outcomes(asyncio.run(main())) == dict.fromkeys(TENANTS, "migrated")


def test_a_server_that_is_lost_ends_the_run_and_not_each_tenant(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    hasty = replace(db.settings, attempts=2)

    def close() -> None:
        with psycopg.connect(db.admin, dbname="postgres", autocommit=True) as conn:
            conn.execute(sql.SQL("alter database {} allow_connections false").format(name))
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                [conninfo_to_dict(db.admin)["dbname"]],
            )

    name = sql.Identifier(str(conninfo_to_dict(db.admin)["dbname"]))

    async def main() -> Report:
        await fleet_of(db)
        async with Fleet(db.deploy, settings=hasty) as fleet:
            await fleet.register(History([PEOPLE, column(2)]))
            rollout = Rollout(max_failures=100, parallel=1)
            return await fleet.up(rollout=rollout, progress=Saboteur(close))

    report = asyncio.run(main())
    with psycopg.connect(db.admin, dbname="postgres", autocommit=True) as conn:
        conn.execute(sql.SQL("alter database {} allow_connections true").format(name))
    assert (report.exit_code, report.aborted) == (1, "the server was lost at t1")
    assert [*outcomes(report).values()] == ["migrated", "failed", *["skipped"] * 4]


def test_repair_goes_through_the_fleet_and_past_what_it_cannot_mend(
    scratch_database: ScratchDatabase,
) -> None:
    db = scratch_database
    half = Migration.of(
        "contact",
        2,
        "half",
        "-- migrate: no-transaction\ncreate table done (id int);\n"
        "create unique index concurrently on people (name)",
    )

    async def main() -> list[Report]:
        await fleet_of(db)
        for tenant in TENANTS[1:]:
            db.rows(f"insert into tenant_{tenant}.people values (1, 'same'), (2, 'same')")
        async with Fleet(db.deploy, settings=db.settings) as fleet:
            await fleet.register(History([PEOPLE, half]))
            broken = await fleet.up(rollout=Rollout(max_failures=9))
            for tenant in TENANTS[2:]:
                db.rows(f"delete from tenant_{tenant}.people")
            await suspend(db.deploy, "t4", settings=db.settings)
            mended = await fleet.repair("retry")
            await resume(db.deploy, "t4", settings=db.settings)
            return [broken, mended, await fleet.repair("reverted"), await fleet.repair("retry")]

    broken, mended, reverted, nothing = asyncio.run(main())
    assert outcomes(broken) == {"t0": "migrated"} | dict.fromkeys(TENANTS[1:], "failed")
    assert outcomes(mended) == dict.fromkeys(TENANTS[1:], "repaired") | {
        "t1": "failed",
        "t4": "failed",
    }
    assert [one.sqlstate for one in mended.failed] == ["23505", None]
    assert "resume it first" in str(mended.failed[1].error)
    assert mended.exit_code == 3
    assert outcomes(reverted) == {"t1": "repaired", "t4": "repaired"}
    assert nothing.results == []
    assert versions(db) == dict.fromkeys(TENANTS, 2) | {"t1": 1, "t4": 1}
