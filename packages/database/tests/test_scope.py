from __future__ import annotations

import doctest
import importlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection, AsyncRawCursor

from mtenant_database.scope import Target, milliseconds, scope
from mtenant_database.tenant_id import InvalidTenantId

pytestmark = pytest.mark.anyio

Connection = AsyncConnection[Any]


@pytest.fixture
async def conn(place: Any) -> AsyncIterator[Connection]:
    connection = await AsyncConnection.connect(
        place.app, autocommit=True, cursor_factory=AsyncRawCursor
    )
    yield connection
    await connection.close()


async def _scoped(conn: Connection, statement: str, *args: Any, **options: Any) -> list[Any]:
    async with conn.transaction():
        sql, params = scope(*args, **options)
        await conn.execute(sql.encode(), params)
        return await (await conn.execute(statement.encode())).fetchall()


async def test_the_scope_shows_one_tenant_and_ends_with_the_transaction(
    conn: Connection, place: Any
) -> None:
    one, other = place.fresh(), place.fresh()
    before = await (await conn.execute("show search_path")).fetchone()

    assert await _scoped(conn, "select name from contacts", one) == [(one,)]
    assert await _scoped(conn, "select name from contacts", other) == [(other,)]
    assert await _scoped(conn, "select current_setting('mtenant.tenant_id')", one) == [(one,)]

    assert await (await conn.execute("show search_path")).fetchone() == before
    assert await (
        await conn.execute("select coalesce(current_setting('mtenant.tenant_id', true), '')")
    ).fetchone() == ("",)


async def test_a_missing_schema_is_an_error(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidSchemaName):
        await _scoped(conn, "select 1", "nobody")


async def test_a_schema_without_usage_is_an_error_of_its_own(conn: Connection, place: Any) -> None:
    tenant = place.fresh()
    place.run(f"revoke usage on schema tenant_{tenant} from {place.role}")

    with pytest.raises(psycopg.errors.InvalidName):
        await _scoped(conn, "select 1", tenant)


async def test_read_only_and_timeout_hold_for_the_transaction(conn: Connection, place: Any) -> None:
    tenant = place.fresh()

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await _scoped(conn, "delete from contacts", tenant, read_only=True)
    with pytest.raises(psycopg.errors.QueryCanceled):
        await _scoped(conn, "select pg_sleep(60)", tenant, timeout=0.01)


async def test_a_temporary_table_does_not_hide_the_tenants(place: Any) -> None:
    tenant = place.fresh()
    async with await AsyncConnection.connect(
        place.owner, autocommit=True, cursor_factory=AsyncRawCursor
    ) as conn:
        await conn.execute("create temp table contacts as select 1 as id, 'somebody' as name")

        assert await _scoped(conn, "select name from contacts", tenant) == [(tenant,)]


async def test_with_a_role_another_tenants_qualified_table_is_forbidden(
    conn: Connection, place: Any
) -> None:
    one, other = place.fresh(), place.fresh()
    for tenant in (one, other):
        place.run(
            f"create role tenant_{tenant} nologin",
            f"grant tenant_{tenant} to {place.role}",
            f"grant usage on schema tenant_{tenant} to tenant_{tenant}",
            f"grant all on all tables in schema tenant_{tenant} to tenant_{tenant}",
        )

    qualified = f"select name from tenant_{other}.contacts"
    assert await _scoped(conn, qualified, one) == [(other,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await _scoped(conn, qualified, one, role=True)
    assert await _scoped(conn, "select name from contacts", one, role=True) == [(one,)]


@given(st.text(max_size=60))
def test_what_is_no_tenant_id_makes_no_scope(text: str) -> None:
    try:
        sql, params = scope(text)
    except InvalidTenantId:
        return
    assert params[:3] == [f"tenant_{text}", f'"tenant_{text}", pg_temp', text]
    assert sql == scope("acme")[0]


@pytest.mark.parametrize("text", ["", "A", "a-b", "a b", 'a"', "a.b", "é", "a" * 57, "_a", "a\n"])
def test_ids_outside_of_the_grammar_are_refused_not_folded(text: str) -> None:
    with pytest.raises(InvalidTenantId):
        scope(text)


@pytest.mark.parametrize("claim", [None, 1, ["acme"], {"id": "acme"}])
def test_what_is_no_text_is_refused_as_any_other_id(claim: Any) -> None:
    with pytest.raises(InvalidTenantId):
        scope(claim)


def test_what_is_remembered_of_tenants_is_theirs_and_bounded() -> None:
    tenants = [f"t{number}" for number in range(3000)]
    for _ in range(2):
        for tenant in tenants:
            for seconds, text in ((1.0, b"1000ms"), (2.0, b"2000ms")):
                schema, path, name, limit = Target.of_tenant(tenant).encoded(seconds)
                assert (schema, name, limit) == (b"tenant_" + name, tenant.encode(), text)
                assert path == b'"' + schema + b'", pg_temp'
    assert Target.encoded.cache_info().currsize < 3000


def test_the_longest_schema_is_as_long_as_postgresql_takes() -> None:
    assert len(Target.of_tenant("a" * 56).schema) == 63


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (1, "1000ms"), (0.0001, "1ms"), (2.5, "2500ms")]
)
def test_a_short_timeout_is_never_no_timeout(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def test_the_docstrings_hold() -> None:
    result = doctest.testmod(importlib.import_module("mtenant_database.scope"))

    assert result.attempted > 0
    assert result.failed == 0
