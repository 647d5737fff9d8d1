# ruff: noqa: PT012, PT017 -- errors come from the end of a block, and some calls may or may not fail

from __future__ import annotations

import asyncio
import uuid
from dataclasses import KW_ONLY, dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, scalar_row
from psycopg.sql import SQL, Identifier

from mtenant_database.database import Database
from mtenant_database.errors import (
    CommitUnknown,
    ConstraintConflict,
    DatabaseUnavailable,
    InvalidReference,
    InvalidValue,
    MultipleRows,
    PermissionDenied,
    QueryTimeout,
    ReadOnlyDatabase,
    RowNotFound,
    StatementFault,
    StillReferenced,
    TenantMismatch,
    TenantNotFound,
    TenantSuspended,
    TransactionOpen,
)
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Contact:
    id: int
    name: str


# Reading and writing.


async def test_a_handle_sees_its_tenant_only(db: Database, place: Any) -> None:
    one, other = place.fresh(), place.fresh()

    for tenant in (one, other, one):
        assert await db.tenant(tenant).fetch_value("select name from contacts") == tenant


async def test_rows_become_what_is_asked_for(db: Database, place: Any) -> None:
    name = place.fresh()
    handle = db.tenant(name)
    query = "select id, name from contacts where id = %(id)s"

    assert await handle.fetch_one(query, {"id": 1}) == (1, name)
    assert await handle.fetch_one(query, {"id": 1}, row=Contact) == Contact(1, name)
    assert await handle.fetch_one(query, {"id": 1}, row=dict) == {"id": 1, "name": name}
    assert await handle.fetch_all(query, {"id": 1}, row=dict_row) == [{"id": 1, "name": name}]
    assert await handle.fetch_optional(query, {"id": 1}, row=scalar_row) == 1
    assert await handle.fetch_optional(query, {"id": 2}, row=Contact) is None


class Named:
    """Takes its values by name only, although its `__init__` looks as if it took both."""

    def __new__(cls, **values: Any) -> Named:
        return super().__new__(cls)

    def __init__(self, id: int, name: str) -> None:
        self.values = {"id": id, "name": name}


@dataclass
class Keywords:
    id: int
    _: KW_ONLY
    name: str


async def test_a_class_is_called_with_the_columns_by_name(db: Database, place: Any) -> None:
    handle = db.tenant(name := place.fresh())

    for columns in ("id, name", "name, id"):  # and each of them twice, since it is remembered
        for _ in range(2):
            query = f"select {columns} from contacts"
            assert await handle.fetch_one(query, row=Contact) == Contact(1, name)
            assert await handle.fetch_one(query, row=Keywords) == Keywords(1, name=name)
            assert (await handle.fetch_one(query, row=Named)).values == {"id": 1, "name": name}
    for columns in ("id", "id, name as title", "id, name, 1 as more"):
        with pytest.raises(TypeError):
            await handle.fetch_one(f"select {columns} from contacts", row=Contact)


async def test_queries_may_be_composed(db: Database, place: Any) -> None:
    query = SQL("select {} from contacts where id = %s").format(Identifier("name"))
    tenant = place.fresh()

    assert await db.tenant(tenant).fetch_value(query, [1]) == tenant


async def test_no_row_and_two_rows_are_errors_where_one_is_asked_for(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(RowNotFound):
        await handle.fetch_one("select 1 where false")
    with pytest.raises(RowNotFound):
        await handle.fetch_value("select 1 where false")
    for fetch in (handle.fetch_one, handle.fetch_optional, handle.fetch_value):
        with pytest.raises(MultipleRows):
            await fetch("values (1), (2)")


async def test_execute_tells_the_rows_and_the_time(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    done = await handle.execute("insert into contacts select n, 'x' from generate_series(2, 5) n")

    assert done.rows_affected == 4
    assert 0 < done.duration < 30
    assert (await handle.execute("update contacts set name = 'y' where id = 9")).rows_affected == 0
    assert await handle.fetch_value("select count(*) from contacts") == 5


async def test_a_read_that_writes_is_sent_again_as_a_write_and_remembered(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())
    query = "with new as (insert into contacts values (%s, 'x') returning id) select id from new"

    assert await handle.fetch_value(query, [2]) == 2
    assert len(db._engine.writers) == 1
    assert await handle.fetch_value(query, [3]) == 3
    assert await handle.fetch_value("insert into contacts values (4, 'x') returning id") == 4

    assert await handle.fetch_value("select count(*) from contacts") == 4
    assert len(db._engine.writers) == 1


async def test_what_is_remembered_of_writers_is_bounded(db: Database) -> None:
    for number in range(3000):
        db._engine.remember_writer(b"select %d" % number)

    assert len(db._engine.writers) == 1000


async def test_many_rows_are_one_transaction(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    # Values of several sizes, so that the types that psycopg chooses change within a batch.
    rows = [(10 ** (n % 9) + n * 1000, str(n)) for n in range(1, 2500)]
    wanted = len({row[0] for row in rows})

    done = await handle.execute_many(
        "insert into contacts values (%s, %s) on conflict (id) do nothing", rows
    )

    assert done.rows_affected == wanted
    assert await handle.fetch_value("select count(*) from contacts where id > 1") == wanted
    with pytest.raises(ConstraintConflict):
        await handle.execute_many(
            "insert into contacts values (%s, 'x')", [(-n,) for n in range(2000)] + [(1,)]
        )
    assert await handle.fetch_value("select count(*) from contacts where id < 0") == 0
    assert (await handle.execute_many("insert into contacts values (%s)", [])).rows_affected == 0


async def test_a_stream_reads_more_than_it_holds(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    await handle.execute("insert into contacts select n, n::text from generate_series(2, 2500) n")

    async with handle.stream("select id, name from contacts", row=Contact, size=100) as contacts:
        seen = [contact async for contact in contacts]
    async with handle.stream("select id from contacts where id > %s", [3], size=10) as some:
        row = None
        async for row in some:  # noqa: B007 - used after the loop
            # The handle may be used meanwhile.
            assert await handle.fetch_value("select count(*) from contacts") == 2500
            break

    assert len({contact.id for contact in seen}) == 2500
    assert row == (4,)
    assert db.pool.get_stats()["pool_used"] == 0


async def test_copy_goes_both_ways_and_stays_in_the_tenant(db: Database, place: Any) -> None:
    one, other = db.tenant(place.fresh()), db.tenant(place.fresh())

    async with one.copy("copy contacts (id, name) from stdin") as copy:
        for number in range(2, 100):
            await copy.write_row((number, "x"))
    async with one.copy("copy contacts to stdout") as copy:
        rows = [row async for row in copy.rows()]

    assert len(rows) == 99
    assert await other.fetch_value("select count(*) from contacts") == 1


async def test_an_error_inside_of_a_copy_leaves_nothing(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(KeyError):
        async with handle.copy("copy contacts from stdin") as copy:
            await copy.write_row((2, "x"))
            raise KeyError
    with pytest.raises(ConstraintConflict):
        async with handle.copy("copy contacts from stdin") as copy:
            await copy.write_row((1, "x"))

    assert await handle.fetch_value("select count(*) from contacts") == 1


# Tenants that are not there.


async def test_an_unknown_tenant_is_not_found_and_poisons_nothing(db: Database, place: Any) -> None:
    known = place.fresh()
    for _ in range(30):
        for verb in (db.tenant("nobody").fetch_all, db.tenant("nobody").execute):
            with pytest.raises(TenantNotFound):
                await verb("select 1")
        assert await db.tenant(known).fetch_value("select name from contacts") == known

    assert db.pool.get_stats()["connections_num"] <= 4


async def test_a_tenant_is_suspended_in_the_next_flush(db: Database, place: Any) -> None:
    tenant = place.fresh()
    handle = db.tenant(tenant)
    assert await handle.fetch_value("select count(*) from contacts") == 1

    place.run(f"revoke usage on schema tenant_{tenant} from {place.role}")
    for verb in (handle.fetch_all, handle.execute):
        with pytest.raises(TenantSuspended):
            await verb("delete from contacts returning id")

    place.run(f"grant usage on schema tenant_{tenant} to {place.role}")
    assert await handle.fetch_value("select count(*) from contacts") == 1


@pytest.mark.parametrize("text", ["", "A", "x; drop", "a-b", "a" * 57, "tenant\x00"])
async def test_a_bad_id_is_a_bad_request(db: Database, text: str) -> None:
    with pytest.raises(InvalidTenantId):
        db.tenant(text)


async def test_a_missing_table_is_an_error_and_never_somebody_elses(
    db: Database, place: Any
) -> None:
    place.run("create table if not exists public.in_public (id int)")
    place.run(f"grant all on public.in_public to {place.role}")
    handle = db.tenant(place.fresh())

    for verb in (handle.fetch_all, db.fetch_all):
        with pytest.raises(StatementFault):
            await verb("select * from in_public")
    with pytest.raises(StatementFault):
        await db.fetch_all("select * from contacts")


# Errors by their place.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select 1/0", StatementFault),
        ("select set_config('mtenant.no_usage.', 'x', true)", StatementFault),  # 42602
        ("select has_schema_privilege('no_such_schema', 'usage')", StatementFault),  # 3F000
        ("do $$begin raise exception using errcode = '3F000'; end$$", StatementFault),
        ("do $$begin raise exception using errcode = '42602'; end$$", StatementFault),
        ("select 'x'::int", InvalidValue),
        ("this is no sql", StatementFault),
    ],
)
async def test_the_users_own_error_never_looks_like_a_missing_tenant(
    db: Database, place: Any, query: str, expected: type[AppError]
) -> None:
    handle = db.tenant(place.fresh())

    for verb in (handle.fetch_all, handle.execute):
        with pytest.raises(expected):
            await verb(query)
    with pytest.raises(expected):
        async with handle.transaction() as tx:
            await tx.execute(query)
    assert await handle.fetch_value("select 1") == 1


async def test_a_deferred_constraint_fails_the_write(db: Database, place: Any) -> None:
    handle = db.tenant(
        place.fresh(
            "create table pairs (id int primary key, other int constraint pairs_other"
            " references contacts deferrable initially deferred)"
        )
    )

    for verb in (handle.execute, handle.fetch_all):
        with pytest.raises(InvalidReference) as caught:
            await verb("insert into pairs values (1, 99) returning id")
        assert caught.value.params["constraint"] == "pairs_other"

    assert await handle.fetch_value("select count(*) from pairs") == 0


async def test_errors_name_the_constraint_and_no_value(db: Database, place: Any) -> None:
    handle = db.tenant(
        place.fresh(
            "create table people (id int primary key, email text unique, age int"
            " constraint old_enough check (age > 17), contact int references contacts)"
        )
    )
    await handle.execute("insert into people values (1, 'ada@example.com', 20, 1)")
    cases: list[tuple[str, type[AppError], str]] = [
        (
            "insert into people values (2, 'ada@example.com', 20)",
            ConstraintConflict,
            "people_email_key",
        ),
        ("insert into people values (2, 'secret', 3)", InvalidValue, "old_enough"),
        ("insert into people values (null, 'secret', 20)", InvalidValue, "id"),
        (
            "insert into people values (3, 'secret', 20, 77777)",
            InvalidReference,
            "people_contact_fkey",
        ),
        ("delete from contacts where id = 1", StillReferenced, "people_contact_fkey"),
        ("insert into people values (4, 'secret', 'secret')", InvalidValue, "22P02"),
    ]
    for query, expected, constraint in cases:
        with pytest.raises(expected) as caught:
            await handle.execute(query)
        error = caught.value
        assert error.params["constraint"] == constraint
        told = (
            f"{error!r} {error.internal} {error.__cause__!r} {error.__cause__} {error.to_problem()}"
        )
        for value in ("secret", "ada@example.com", "77777"):
            assert value not in told, told


async def test_bad_parameters_are_the_programs_fault_and_bad_values_the_callers(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(StatementFault):
        await handle.fetch_all("select %s", [1, 2])
    with pytest.raises(InvalidValue):
        await handle.fetch_all("select %s", ["zero \x00 byte"])
    with pytest.raises(StatementFault):
        await handle.fetch_all("select %s", [object()])
    with pytest.raises(ValueError, match="65535"):
        await handle.fetch_all("select %s" + ", %s" * 65535, [1] * 65536)
    with pytest.raises(ValueError, match="transaction"):
        await handle.execute("set local lock_timeout = '1s'")
    assert db.pool.get_stats()["connections_num"] <= 4


async def test_a_statement_timeout_of_the_tenant_is_the_servers(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh(), timeout=0.02)

    for verb in (handle.fetch_all, handle.execute):
        with pytest.raises(QueryTimeout):
            await verb("select pg_sleep(60)")
    for limit in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            db.tenant(handle.id, timeout=limit)
    assert await handle.fetch_value("show statement_timeout") == "20ms"
    assert await db.tenant(handle.id).fetch_value("show statement_timeout") == "30s"


# Traps.


async def test_a_procedure_cannot_commit_its_way_out_of_the_scope(db: Database, place: Any) -> None:
    tenant = place.fresh(
        "create table seen (path text)",
        "create procedure leave() language plpgsql as $$ begin"
        " insert into seen values (current_setting('search_path')); commit;"
        " insert into public.escaped values (current_setting('search_path')); end $$",
        # It writes nothing before it commits, so that being read-only would not stop it.
        "create procedure slip_away() language plpgsql as $$ begin commit;"
        " insert into public.escaped values (current_setting('search_path')); end $$",
    )
    place.run("create table if not exists public.escaped (path text)")
    place.run(f"grant all on public.escaped to {place.role}")
    handle = db.tenant(tenant)

    for verb in (handle.execute, handle.fetch_all):
        for query in (
            "call slip_away()",
            "call leave()",
            "/* select */ call leave()",
            "/* /* */ select */ call leave()",
        ):
            with pytest.raises(StatementFault):
                await verb(query)

    assert place.run("select count(*) from public.escaped") == [(0,)]
    assert await handle.fetch_value("select count(*) from seen") == 0


async def test_lock_table_and_for_update_work_in_one_flush(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    await handle.execute("lock table contacts in exclusive mode")
    assert await handle.fetch_value("select id from contacts for update") == 1


async def test_tenants_with_types_of_their_own_share_connections(db: Database, place: Any) -> None:
    tenants = [
        place.fresh(
            f"create type mood as enum ('{mood}')",
            f"create domain score as int check (value < {limit})",
            "create table days (mood mood, score score)",
            f"insert into days values ('{mood}', 1)",
            f"alter table contacts add column extra{limit} text",
        )
        for mood, limit in (("fine", 10), ("sad", 20))
    ]
    query = "select mood, score from days where mood = %s and score < %s"

    for _ in range(20):
        for tenant, mood in zip(tenants, ("fine", "sad"), strict=True):
            handle = db.tenant(tenant)
            assert await handle.fetch_one(query, [mood, 5]) == (mood, 1)
            assert len(await handle.fetch_one("select * from contacts")) == 3
            assert await handle.fetch_value("select 'x'::text, %s::mood", [mood]) == "x"


async def test_a_session_that_lost_our_statements_is_replaced(db: Database, place: Any) -> None:
    tenant = place.fresh()
    async with db.connection() as conn:
        await conn.execute("deallocate all")

    outcomes = []
    for _ in range(20):
        try:
            outcomes.append(await db.tenant(tenant).fetch_value("select name from contacts"))
        except DatabaseUnavailable as error:
            assert error.retryable
            outcomes.append("unavailable")

    assert set(outcomes) <= {tenant, "unavailable"}
    assert outcomes.count("unavailable") <= 1


async def test_a_temporary_table_is_refused(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(ValueError, match="dedicated"):
        await handle.execute("create temp table contacts (id int)")
    # What the words do not tell, the role's privileges do.
    with pytest.raises(PermissionDenied):
        await handle.execute("select 1 as id into temp stolen")


# Handles and transactions.


async def test_a_handle_does_not_join_an_open_transaction(db: Database, place: Any) -> None:
    one, other = db.tenant(place.fresh()), db.tenant(place.fresh())

    async with one.transaction() as tx:
        await tx.execute("delete from contacts")
        for verb in (one.fetch_all, one.execute, db.fetch_all, db.shared().fetch_all):
            with pytest.raises(TransactionOpen) as caught:
                await verb("select 1")
            assert not isinstance(caught.value, TenantMismatch)
        for verb in (other.fetch_all, other.execute):
            with pytest.raises(TenantMismatch):
                await verb("select 1")
        with pytest.raises(TransactionOpen):
            async with one.transaction():
                pass
        with pytest.raises(TenantMismatch):
            async with other.transaction():
                pass
        with pytest.raises(TransactionOpen):
            async with one.stream("select 1"):
                pass

        # Another task holds no transaction.
        assert await asyncio.create_task(one.fetch_value("select count(*) from contacts")) == 1
    assert await one.fetch_value("select count(*) from contacts") == 0


async def test_the_untenanted_way_finds_nothing_without_a_schemas_name(
    db: Database, place: Any
) -> None:
    tenant = place.fresh()

    assert await db.fetch_value("show search_path") == "pg_catalog,pg_temp"
    assert await db.fetch_value(f"select name from tenant_{tenant}.contacts") == tenant
    assert (await db.execute(f"delete from tenant_{tenant}.contacts")).rows_affected == 1
    async with db.transaction() as tx:
        assert tx.tenant is None
        assert await tx.fetch_value("show search_path") == "pg_catalog,pg_temp"


async def test_shared_is_a_scope_without_a_tenant(new_place: Any) -> None:
    place = new_place()
    async with Database(place.config()) as db:
        with pytest.raises(AppError) as caught:
            await db.shared().fetch_all("select 1")
        assert caught.value.status_code == 500
        assert "migrate" in str(caught.value.internal)

        place.run("create schema shared", f"grant usage on schema shared to {place.role}")
        assert await db.shared().fetch_value("show search_path") == '"shared", "eventing", pg_temp'
        assert await db.shared().fetch_value("show mtenant.tenant_id") == ""


async def test_row_security_sees_the_tenant_of_the_scope(new_place: Any) -> None:
    place = new_place()
    one, other = place.fresh(), place.fresh()
    place.run(
        "create schema shared",
        f"grant usage on schema shared to {place.role}",
        "create table shared.notes (tenant text, note text)",
        f"grant all on shared.notes to {place.role}",
        "alter table shared.notes enable row level security",
        "alter table shared.notes force row level security",
        "create policy mine on shared.notes"
        " using (tenant = current_setting('mtenant.tenant_id', true))",
        f"insert into shared.notes values ('{one}', 'a'), ('{other}', 'b')",
    )
    async with Database(place.config(max_open_conns=1, max_idle_conns=1)) as db:
        for tenant, note in ((one, "a"), (other, "b"), (one, "a")):
            handle = db.tenant(tenant)
            assert await handle.fetch_all("select note from shared.notes") == [(note,)]
            async with handle.transaction() as tx:
                assert await tx.fetch_all("select note from shared.notes") == [(note,)]
            assert await db.fetch_all("select note from shared.notes") == []
        with pytest.raises(AppError):
            await db.tenant(one).execute("insert into shared.notes values (%s, 'c')", [other])


async def test_with_roles_a_qualified_name_of_another_tenant_is_forbidden(place: Any) -> None:
    one, other, without = place.fresh(), place.fresh(), place.fresh()
    stranger = place.fresh()
    for tenant in (one, other, stranger):
        place.run(
            f"create role tenant_{tenant} nologin",
            f"grant usage on schema tenant_{tenant} to tenant_{tenant}",
            f"grant all on all tables in schema tenant_{tenant} to tenant_{tenant}",
        )
    for tenant in (one, other):
        place.run(f"grant tenant_{tenant} to {place.role}")
    async with Database(place.config(), tenant_role=True) as db:
        handle = db.tenant(one)
        assert await handle.fetch_value("select name from contacts") == one
        assert await handle.fetch_value("select current_user") == f"tenant_{one}"
        for verb in (handle.fetch_all, handle.execute):
            with pytest.raises(PermissionDenied):
                await verb(f"select name from tenant_{other}.contacts")
        async with handle.transaction(timeout=5) as tx:
            assert await tx.fetch_value("select current_user") == f"tenant_{one}"
        with pytest.raises(TenantNotFound):
            await db.tenant(without).fetch_all("select 1")
        with pytest.raises(TenantNotFound):
            await db.tenant("nobody").fetch_all("select 1")
        with pytest.raises(TenantSuspended):
            await db.tenant(stranger).fetch_all("select 1")
        assert await db.fetch_value("select current_user") == place.role


async def test_a_replica_answers_reads_and_refuses_writes(place: Any) -> None:
    # A server that is read-only by default stands for a replica: the same error, the same place.
    config = place.config(url=f"{place.app}?options=-c%20default_transaction_read_only%3Don")
    tenant = place.fresh()
    async with Database(config) as db:
        assert await db.tenant(tenant).fetch_value("select name from contacts") == tenant
        for verb in (db.tenant(tenant).execute, db.tenant(tenant).fetch_all):
            with pytest.raises(ReadOnlyDatabase):
                await verb("delete from contacts returning id")


# Lost connections.


async def test_a_killed_connection_is_replaced_and_nothing_wrong_is_said(
    db: Database, place: Any
) -> None:
    tenant = place.fresh()
    handle = db.tenant(tenant)
    for _ in range(3):
        place.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            f" where usename = '{place.role}'"
        )
        for _ in range(6):
            try:
                assert await handle.fetch_value("select name from contacts") == tenant
            except DatabaseUnavailable as error:
                assert error.retryable


async def test_a_write_whose_answer_is_lost_is_unknown_and_a_read_unavailable(
    place: Any, proxy: Any
) -> None:
    tenant = place.fresh()
    async with Database(place.config(url=proxy.url)) as db:
        handle = db.tenant(tenant)
        proxy.lose_answer_to = b"select name"
        with pytest.raises(DatabaseUnavailable):
            await handle.fetch_all("select name from contacts")
        proxy.lose_answer_to = b"select 41"
        with pytest.raises(DatabaseUnavailable) as unscoped:
            await db.fetch_all("select 41")
        assert not unscoped.value.retryable
        proxy.lose_answer_to = b"into contacts"
        with pytest.raises(CommitUnknown) as caught:
            await handle.execute("insert into contacts values (2, 'x')")

        assert not caught.value.retryable
        assert caught.value.status_code == 503
        assert "transaction" in str(caught.value.internal)
        assert await handle.fetch_value("select count(*) from contacts") == 2


async def test_a_handle_is_small_and_says_who_it_is(db: Database) -> None:
    tenant = uuid.uuid4().hex

    assert repr(db.tenant(tenant)) == f"<Tenant {tenant}>"
    assert db.tenant(tenant).id == tenant
    with pytest.raises(AttributeError):
        db.tenant(tenant).id = "other"  # type: ignore[misc]  # what is tried here


async def test_foreign_exceptions_of_the_driver_stay_its_own_in_a_borrowed_connection(
    db: Database,
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with db.connection() as conn:
            await conn.execute("select 1/0")
