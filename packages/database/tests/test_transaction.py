# ruff: noqa: PT012 -- an error of COMMIT comes from the end of a block

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from mtenant_database.database import Database
from mtenant_database.errors import (
    CommitUnknown,
    ConstraintConflict,
    DatabaseUnavailable,
    InvalidReference,
    LockTimeout,
    QueryTimeout,
    ReadOnlyDatabase,
    RowNotFound,
    SerializationConflict,
    StatementFault,
    TenantNotFound,
    TenantSuspended,
    TransactionAborted,
    TransactionOpen,
    TransactionTimeout,
)
from mtenant_database.unit import Options
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio

COUNT = "select count(*) from contacts"
INSERT = "insert into contacts values (%s, 'x')"


def _all_home(db: Database) -> bool:
    return db.pool.get_stats()["pool_used"] == 0


async def test_it_commits_at_the_end_and_rolls_back_on_an_exception(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        assert tx.tenant == handle.id
        await tx.execute(INSERT, [2])
    with pytest.raises(KeyError):
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [3])
            assert await tx.fetch_value(COUNT) == 3
            raise KeyError

    assert await handle.fetch_value(COUNT) == 2


async def test_a_rollback_keeps_the_connection(place: Any) -> None:
    async with Database(place.config(max_open_conns=1, max_idle_conns=1)) as db:
        handle = db.tenant(place.fresh())
        before = await db.fetch_value("select pg_backend_pid()")
        for failing in (KeyError, asyncio.CancelledError):
            with pytest.raises(failing):
                async with handle.transaction() as tx:
                    await tx.execute(INSERT, [2])
                    raise failing
        with pytest.raises(ConstraintConflict):
            async with handle.transaction() as tx:
                await tx.execute(INSERT, [1])

        assert await db.fetch_value("select pg_backend_pid()") == before
        assert await handle.fetch_value(COUNT) == 1


async def test_after_its_end_nothing_is_sent_without_the_scope(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    other = place.fresh()

    with pytest.raises(TransactionAborted):
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            # As if something had ended it behind our back: the connection lives, the scope is gone.
            assert tx._unit.conn is not None
            await tx._unit.conn.execute("commit")
            with pytest.raises(DatabaseUnavailable):
                await tx.execute(f"delete from tenant_{other}.contacts")

    assert await db.tenant(other).fetch_value(COUNT) == 1


async def test_one_that_does_nothing_takes_no_connection(db: Database) -> None:
    before = db.pool.get_stats().get("requests_num", 0)

    async with db.tenant("nobody").transaction():
        pass

    assert db.pool.get_stats().get("requests_num", 0) == before


async def test_it_fails_closed_like_a_handle(db: Database, place: Any) -> None:
    suspended = place.fresh()
    place.run(f"revoke usage on schema tenant_{suspended} from {place.role}")

    for tenant, expected in (("nobody", TenantNotFound), (suspended, TenantSuspended)):
        with pytest.raises(expected):
            async with db.tenant(tenant).transaction() as tx:
                await tx.execute("select 1")
        with pytest.raises(expected):
            async with db.tenant(tenant).transaction(timeout=5) as tx:
                await tx.execute("select 1")
    assert _all_home(db)


async def test_savepoints_nest_and_roll_back_alone(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        await tx.execute(INSERT, [2])
        with pytest.raises(ConstraintConflict):
            async with tx.transaction() as inner:
                assert inner is tx
                await tx.execute(INSERT, [3])
                async with tx.transaction():
                    await tx.execute(INSERT, [4])
                await tx.execute(INSERT, [1])
        async with tx.transaction():
            async with tx.transaction():
                await tx.execute(INSERT, [5])
            with pytest.raises(KeyError):
                async with tx.transaction():
                    raise KeyError
        async with tx.transaction():
            pass
        # The scope was set before any savepoint, so that rolling back to one cannot change it.
        assert await tx.fetch_value("show search_path") == f'"tenant_{handle.id}", pg_temp'

    assert await handle.fetch_all("select id from contacts order by id") == [(1,), (2,), (5,)]


async def test_a_failure_before_the_first_statement_of_a_savepoint_fails_the_whole(
    db: Database,
) -> None:
    with pytest.raises(TransactionAborted):
        async with db.tenant("nobody").transaction() as tx:
            with pytest.raises(TenantNotFound):
                async with tx.transaction():
                    await tx.execute("select 1")
    assert _all_home(db)


async def test_an_error_that_is_caught_inside_is_not_a_silent_rollback(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(TransactionAborted):
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            with pytest.raises(ConstraintConflict):
                await tx.execute(INSERT, [1])
    with pytest.raises(TransactionAborted):
        async with handle.transaction() as tx:
            with pytest.raises(ConstraintConflict):
                await tx.execute(INSERT, [1])
            await tx.execute(INSERT, [2])
    async with handle.transaction() as tx:
        with pytest.raises(TransactionAborted):
            async with tx.transaction():
                with pytest.raises(ConstraintConflict):
                    await tx.execute(INSERT, [1])
        await tx.execute(INSERT, [7])

    assert await handle.fetch_all("select id from contacts order by id") == [(1,), (7,)]


async def test_a_deferred_constraint_fails_the_commit(db: Database, place: Any) -> None:
    handle = db.tenant(
        place.fresh(
            "create table pairs (other int references contacts deferrable initially deferred)"
        )
    )

    with pytest.raises(InvalidReference):
        async with handle.transaction() as tx:
            await tx.execute("insert into pairs values (99)")
            assert await tx.fetch_value("select count(*) from pairs") == 1

    assert await handle.fetch_value("select count(*) from pairs") == 0
    assert _all_home(db)


async def test_a_serialization_failure_at_commit_is_a_conflict_that_may_be_retried(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh("insert into contacts values (2, '2')"))
    both_read = asyncio.Barrier(2)

    async def write_skew(mine: int) -> None:
        async with handle.transaction(isolation="serializable") as tx:
            await tx.fetch_all("select * from contacts")
            await tx.execute("update contacts set name = 'x' where id = %s", [mine])
            await both_read.wait()

    outcomes = await asyncio.gather(write_skew(1), write_skew(2), return_exceptions=True)

    failures = [outcome for outcome in outcomes if outcome is not None]
    assert [type(failure) for failure in failures] == [SerializationConflict]
    assert [failure.retryable for failure in failures if isinstance(failure, AppError)] == [True]


async def test_options_are_the_servers(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction(isolation="serializable", read_only=True, deferrable=True) as tx:
        assert await tx.fetch_value("show transaction_isolation") == "serializable"
        assert await tx.fetch_value("show transaction_deferrable") == "on"
        with pytest.raises(ReadOnlyDatabase):
            async with tx.transaction():
                await tx.execute(INSERT, [2])
    async with handle.transaction(isolation="repeatable read") as tx:
        assert await tx.fetch_value("show transaction_isolation") == "repeatable read"


async def test_the_timeout_is_the_servers_and_for_the_whole(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises((TransactionTimeout, QueryTimeout)):
        async with handle.transaction(timeout=0.05) as tx:
            await tx.execute("select pg_sleep(60)")
    with pytest.raises((TransactionTimeout, DatabaseUnavailable)):
        async with handle.transaction(timeout=0.05) as tx:
            await tx.execute(INSERT, [2])
            await asyncio.sleep(0.3)
            await tx.execute(INSERT, [3])
    with pytest.raises((TransactionTimeout, DatabaseUnavailable)):
        async with handle.transaction(timeout=0.05) as tx:
            await tx.execute(INSERT, [2])
            await asyncio.sleep(0.3)
    async with db.transaction(timeout=5) as tx:
        assert await tx.fetch_value("show statement_timeout") == "5s"

    assert await handle.fetch_value(COUNT) == 1


@pytest.mark.parametrize("options", [{"isolation": "chaos"}, {"timeout": 0}, {"timeout": -1}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="write"):
        Options(**options)


async def test_it_is_entered_once_and_used_inside_its_block(db: Database, place: Any) -> None:
    tx = db.tenant(place.fresh()).transaction()

    with pytest.raises(TransactionOpen):
        await tx.fetch_all("select 1")
    async with tx:
        await tx.fetch_all("select 1")
    with pytest.raises(TransactionOpen):
        await tx.fetch_all("select 1")
    with pytest.raises(TransactionOpen):
        async with tx:
            pass
    with pytest.raises(TransactionOpen):
        async with tx.transaction():
            pass
    assert "over" in repr(tx)


@pytest.mark.parametrize(
    "query", ["commit", "rollback", "begin", "set search_path to x", "copy x to stdout"]
)
async def test_the_end_of_it_cannot_be_sent_as_a_statement(
    db: Database, place: Any, query: str
) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        with pytest.raises(ValueError, match="not for here"):
            await tx.execute(query)
        await tx.execute("set local lock_timeout = '1s'")
        await tx.execute(INSERT, [2])

    assert await handle.fetch_value(COUNT) == 2


async def test_statements_of_several_tasks_take_turns(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        await asyncio.gather(*(tx.execute(INSERT, [number]) for number in range(2, 30)))
        values = await asyncio.gather(
            *(tx.fetch_value("select %s::int", [number]) for number in range(30))
        )

    assert values == list(range(30))
    assert await handle.fetch_value(COUNT) == 29


async def test_locks_of_one_name_exclude_in_a_tenant_and_not_across(
    db: Database, place: Any
) -> None:
    one, other = db.tenant(place.fresh()), db.tenant(place.fresh())

    async def lock(handle: Any) -> None:
        async with handle.transaction() as tx:
            await tx.execute("set local lock_timeout = '50ms'")
            await tx.lock("import")

    async with one.transaction() as tx:
        await tx.lock("import")
        with pytest.raises(LockTimeout):
            await asyncio.create_task(lock(one))
        await asyncio.create_task(lock(other))
    await lock(one)


async def test_a_stream_and_a_copy_are_part_of_it(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        async with tx.copy("copy contacts from stdin") as copy:
            for number in range(2, 50):
                await copy.write_row((number, "x"))
        async with tx.stream("select id from contacts order by id", size=7) as rows:
            seen = [row async for row in rows]
            assert await tx.fetch_value(COUNT) == 49
        with pytest.raises(StatementFault):
            async with tx.transaction(), tx.stream("select * from nothing"):
                pass
        with pytest.raises(ValueError, match="stream"):
            async with tx.stream("delete from contacts"):
                pass
        await tx.execute("delete from contacts where id > 40")

    assert seen == [(number,) for number in range(1, 50)]
    assert await handle.fetch_value(COUNT) == 40


async def test_a_statement_inside_of_its_own_copy_is_an_error_and_no_deadlock(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(TransactionOpen):
        async with handle.transaction() as tx, tx.copy("copy contacts from stdin") as copy:
            await copy.write_row((2, "x"))
            await tx.execute(INSERT, [3])
    async with handle.transaction() as tx:
        async with tx.copy("copy contacts from stdin") as copy:
            other = asyncio.create_task(tx.fetch_value(COUNT))
            await asyncio.sleep(0)
            await copy.write_row((2, "x"))
        assert await other == 2

    assert await handle.fetch_value(COUNT) == 2


async def test_savepoints_of_several_tasks_may_not_overlap(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    inside = asyncio.Event()

    with pytest.raises(TransactionAborted):
        async with handle.transaction() as tx:

            async def first() -> None:
                async with tx.transaction():
                    await tx.execute(INSERT, [2])
                    await inside.wait()

            async def second() -> None:
                async with tx.transaction():
                    inside.set()
                    await tx.execute(INSERT, [3])

            outcomes = await asyncio.gather(first(), second(), return_exceptions=True)
            assert TransactionOpen in [type(outcome) for outcome in outcomes]
            with pytest.raises(TransactionAborted):
                await tx.execute(INSERT, [4])

    assert await handle.fetch_value(COUNT) == 1
    assert _all_home(db)


async def test_a_cursor_and_a_temporary_table_end_with_it(db: Database, place: Any) -> None:
    one, other = db.tenant(place.fresh()), db.tenant(place.fresh())
    place.run(f"grant temporary on database {place.name} to {place.role}")
    try:
        async with one.transaction() as tx:
            await tx.execute("create temp table seen on commit drop as select * from contacts")
            async with tx.stream("select * from seen") as rows:
                assert [row async for row in rows] == [(1, one.id)]
        for _ in range(5):
            with pytest.raises(StatementFault):
                await other.fetch_all("select * from seen")
            assert await other.fetch_all("select name from pg_cursors where name <> ''") == []
    finally:
        place.run(f"revoke temporary on database {place.name} from {place.role}")


async def test_many_rows_in_a_transaction(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        done = await tx.execute_many(INSERT, ([number] for number in range(2, 5)))
        with pytest.raises(ConstraintConflict):
            async with tx.transaction():
                await tx.execute_many(INSERT, [[9], [1]])

    assert done.rows_affected == 3
    assert await handle.fetch_value(COUNT) == 4


async def test_a_timeout_of_the_caller_may_be_caught_at_a_savepoint(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    async with handle.transaction() as tx:
        await tx.execute(INSERT, [2])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), tx.transaction():
                await tx.execute("select pg_sleep(60)")
        await tx.execute(INSERT, [3])

    assert await handle.fetch_value(COUNT) == 3


async def test_a_lost_connection_ends_it_and_nothing_runs_outside_of_it(
    db: Database, place: Any
) -> None:
    tenant = place.fresh()
    handle = db.tenant(tenant)

    with pytest.raises(DatabaseUnavailable):
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            pid = await tx.fetch_value("select pg_backend_pid()")
            place.run(f"select pg_terminate_backend({pid}, 5000)")
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await tx.execute(INSERT, [3])
    with pytest.raises(DatabaseUnavailable):
        async with handle.transaction() as tx, tx.transaction():
            pid = await tx.fetch_value("select pg_backend_pid()")
            place.run(f"select pg_terminate_backend({pid}, 5000)")
            await tx.execute(INSERT, [3])

    assert await handle.fetch_value(COUNT) == 1


# The outcome of a lost COMMIT.


async def test_a_lost_commit_that_happened_is_a_success(place: Any, proxy: Any) -> None:
    async with Database(place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)) as db:
        handle = db.tenant(place.fresh())
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            proxy.lose_answer_to = b"mtenant_commit"

        assert proxy.lost == 1
        assert await handle.fetch_value(COUNT) == 2


async def test_a_lost_commit_of_reads_is_no_error(place: Any, proxy: Any) -> None:
    async with Database(place.config(url=proxy.url)) as db:
        handle = db.tenant(place.fresh())
        proxy.lose_answer_to = b"mtenant_commit"
        async with handle.transaction(read_only=True) as tx:
            await tx.fetch_value(COUNT)
        assert proxy.lost == 1


async def test_a_commit_that_never_happened_is_unavailable(place: Any, proxy: Any) -> None:
    async with Database(place.config(url=proxy.url)) as db:
        handle = db.tenant(place.fresh())
        with pytest.raises(DatabaseUnavailable) as caught:
            async with handle.transaction() as tx:
                await tx.execute(INSERT, [2])
                pid = await tx.fetch_value("select pg_backend_pid()")
                # The server has ended it, and the client hears nothing but the end of the line.
                place.run(f"select pg_terminate_backend({pid}, 5000)")
                for writer in list(proxy.writers):
                    writer.transport.abort()

        assert caught.value.retryable
        assert "not committed" in str(caught.value.internal)
        assert await handle.fetch_value(COUNT) == 1


async def test_a_commit_is_asked_for_again_while_it_is_in_progress(place: Any, proxy: Any) -> None:
    tenant = place.fresh(
        "create function wait() returns trigger language plpgsql as $$ begin"
        " perform pg_sleep(0.3); return null; end $$",
        "create constraint trigger slow after insert on contacts deferrable initially deferred"
        " for each row execute function wait()",
    )
    async with Database(place.config(url=proxy.url)) as db:
        handle = db.tenant(tenant)
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            proxy.cut_after = b"mtenant_commit"

        assert await handle.fetch_value(COUNT) == 2


async def test_a_server_that_is_another_one_cannot_tell(place: Any, proxy: Any) -> None:
    async with Database(place.config(url=proxy.url)) as db:
        handle = db.tenant(place.fresh())
        for conn in list(db._engine.timelines):
            db._engine.timelines[conn] = "7000000000000000000/00000001"
        with pytest.raises(CommitUnknown) as caught:
            async with handle.transaction() as tx:
                await tx.execute(INSERT, [2])
                proxy.lose_answer_to = b"mtenant_commit"

        assert not caught.value.retryable
        assert "timeline" in str(caught.value.internal)


async def test_a_server_that_cannot_be_reached_leaves_it_unknown(place: Any, proxy: Any) -> None:
    config = place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)
    async with Database(config) as db:
        db._engine.resolve_within = 0.3
        handle = db.tenant(place.fresh())
        with pytest.raises(CommitUnknown):
            async with handle.transaction() as tx:
                await tx.execute(INSERT, [2])
                proxy.refuse = True
                proxy.lose_answer_to = b"mtenant_commit"
        proxy.refuse = False


async def test_without_startup_options_the_outcome_is_found_too(place: Any, proxy: Any) -> None:
    async with Database(place.config(url=proxy.url, pooler="transaction")) as db:
        handle = db.tenant(place.fresh())
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2])
            proxy.lose_answer_to = b"COMMIT"

        assert proxy.lost == 1
        assert await handle.fetch_value(COUNT) == 2


async def test_what_is_registered_for_the_commit_is_called_after_it_and_in_order(
    db: Database, place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    acme = db.tenant(place.fresh())
    called: list[str] = []

    async with acme.transaction() as tx:
        tx.on_commit(lambda: called.append("first"))
        await tx.execute("insert into contacts values (2, 'x')")
        tx.on_commit(lambda: 1 // 0)
        tx.on_commit(lambda: called.append("last"))
        assert called == []

    assert called == ["first", "last"]
    assert "failed after its transaction was committed" in caplog.text


async def test_what_is_registered_in_a_savepoint_goes_with_it(db: Database, place: Any) -> None:
    acme = db.tenant(place.fresh())
    called: list[str] = []

    async with acme.transaction() as tx:
        with contextlib.suppress(RowNotFound):
            async with tx.transaction():
                tx.on_commit(lambda: called.append("rolled back"))
                await tx.fetch_one("select 1 where false")
        async with tx.transaction():
            tx.on_commit(lambda: called.append("released"))

    assert called == ["released"]


async def test_what_is_not_committed_calls_nobody(db: Database, place: Any) -> None:
    acme = db.tenant(
        place.fresh("alter table contacts add unique (name) deferrable initially deferred")
    )
    called: list[str] = []

    async def collide(tx: Any) -> None:
        tx.on_commit(lambda: called.append("never"))
        await tx.execute("insert into contacts values (2, 'a'), (3, 'a')")

    async def give_up(tx: Any) -> None:
        tx.on_commit(lambda: called.append("never"))
        await tx.execute("insert into contacts values (2, 'a')")
        raise ZeroDivisionError

    with pytest.raises(ConstraintConflict):
        await acme.run(collide)
    with pytest.raises(ZeroDivisionError):
        await acme.run(give_up)
    tx = acme.transaction()
    async with tx:
        pass
    with pytest.raises(TransactionOpen):
        tx.on_commit(lambda: None)
    assert called == []


async def test_a_commit_whose_answer_was_lost_is_told_once_it_is_certain(
    proxy: Any, place: Any
) -> None:
    tenant = place.fresh()
    called: list[str] = []
    async with (
        Database(place.config(url=proxy.url)) as database,
        database.tenant(tenant).transaction() as tx,
    ):
        tx.on_commit(lambda: called.append("committed"))
        await tx.execute("insert into contacts values (2, 'x')")
        proxy.lose_answer_to = b"mtenant_commit"
        async with Database(place.config(url=proxy.url)):
            pass  # as any connection that is made meanwhile: a COMMIT was prepared, and none was run

    assert proxy.lost == 1
    assert called == ["committed"]
