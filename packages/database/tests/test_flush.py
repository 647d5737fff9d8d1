from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import ExecStatus, TransactionStatus

from mtenant_database.flush import (
    Bind,
    ConnectionLost,
    Messages,
    Parse,
    Prepared,
    Text,
    flush,
    prepare,
    single,
)

pytestmark = pytest.mark.anyio

Connection = AsyncConnection[Any]


@pytest.fixture
async def conn(place: Any) -> AsyncIterator[Connection]:
    connection = await AsyncConnection.connect(place.app, autocommit=True)
    yield connection
    await connection.close()


def _is_idle(conn: Connection) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


async def _answers(conn: Connection) -> bool:
    results = await conn.wait(single(conn.pgconn, Text(b"select 42")))
    return results[0].get_value(0, 0) == b"42"


async def test_there_is_one_result_for_each_message(conn: Connection) -> None:
    messages = [Text(b"begin"), Text(b"select 1"), Text(b"select $1::int", [b"2"]), Text(b"commit")]

    results = await conn.wait(flush(conn.pgconn, messages, ends=True))

    tags = [result.command_status for result in results]
    assert tags == [b"BEGIN", b"SELECT 1", b"SELECT 1", b"COMMIT"]
    assert results[2].get_value(0, 0) == b"2"
    assert await _answers(conn)


async def test_after_an_error_nothing_runs_and_the_connection_is_idle(conn: Connection) -> None:
    messages = [Text(b"begin"), Text(b"select 1/0"), Text(b"select 1"), Text(b"commit")]

    results = await conn.wait(flush(conn.pgconn, messages, ends=True))

    assert [result.status for result in results] == [
        ExecStatus.COMMAND_OK,
        ExecStatus.FATAL_ERROR,
        ExecStatus.PIPELINE_ABORTED,
        ExecStatus.PIPELINE_ABORTED,
    ]
    assert _is_idle(conn)
    assert await _answers(conn)


async def test_a_flush_that_does_not_end_leaves_the_transaction_open(conn: Connection) -> None:
    await conn.wait(flush(conn.pgconn, [Text(b"begin"), Text(b"select 1")], ends=False))
    assert conn.pgconn.transaction_status == TransactionStatus.INTRANS

    await conn.wait(flush(conn.pgconn, [Text(b"select 1/0"), Text(b"select 1")], ends=False))

    assert conn.pgconn.transaction_status == TransactionStatus.INERROR


async def test_what_is_set_locally_ends_with_the_flush(conn: Connection) -> None:
    show = Text(b"select current_setting('mtenant.x', true)")
    local = Text(b"select set_config('mtenant.x', 'acme', true)")

    results = await conn.wait(flush(conn.pgconn, [local, show], ends=True))
    after = await conn.wait(single(conn.pgconn, show))

    assert results[1].get_value(0, 0) == b"acme"
    assert after[0].get_value(0, 0) in {None, b""}


async def test_prepared_statements_are_executed_by_name(conn: Connection) -> None:
    await conn.wait(prepare(conn.pgconn, [(b"a", b"select $1::int + 1"), (b"b", b"select 2")]))

    messages = [Prepared(b"a", [b"4"]), Prepared(b"b")]
    results = await conn.wait(flush(conn.pgconn, messages, ends=True))

    assert [result.get_value(0, 0) for result in results] == [b"5", b"2"]


async def test_one_parse_serves_many_rows(conn: Connection) -> None:
    rows = [Bind([b"%d" % number], None) for number in range(3000)]

    messages: Messages = [Parse(b"select $1::int", ()), *rows]
    results = await conn.wait(flush(conn.pgconn, messages, ends=True))

    assert [result.get_value(0, 0) for result in results[1:]] == [b"%d" % n for n in range(3000)]
    assert await _answers(conn)


async def test_more_than_the_socket_holds_is_sent_and_read_without_a_deadlock(
    conn: Connection,
) -> None:
    big = b"x" * 1_000_000
    messages = [Text(b"select $1::text", [big]) for _ in range(20)]

    results = await conn.wait(flush(conn.pgconn, messages, ends=True))

    assert all(result.get_value(0, 0) == big for result in results)


async def test_an_error_of_the_commit_that_a_sync_makes_comes_last(
    conn: Connection, place: Any
) -> None:
    tenant = place.fresh(
        "create table pairs (id int primary key, other int"
        " references contacts deferrable initially deferred)"
    )
    insert = Text(b"insert into tenant_%s.pairs values (1, 99)" % tenant.encode())

    in_flush = await conn.wait(flush(conn.pgconn, [Text(b"select 1"), insert], ends=True))
    alone = await conn.wait(single(conn.pgconn, insert))

    assert [result.status for result in in_flush[1:]] == [
        ExecStatus.COMMAND_OK,
        ExecStatus.FATAL_ERROR,
    ]
    assert [result.status for result in alone] == [ExecStatus.COMMAND_OK, ExecStatus.FATAL_ERROR]
    assert await _answers(conn)


@pytest.mark.parametrize("alone", [True, False])
async def test_copy_in_a_flush_closes_the_connection(conn: Connection, alone: bool) -> None:
    copy = Text(b"copy (select 1) to stdout")
    generator = single(conn.pgconn, copy) if alone else flush(conn.pgconn, [copy, copy], ends=True)

    with pytest.raises(psycopg.OperationalError):
        await conn.wait(generator)

    assert conn.closed


async def test_a_server_that_says_why_it_closes_gives_a_result(
    conn: Connection, place: Any
) -> None:
    place.run(f"select pg_terminate_backend({conn.info.backend_pid}, 5000)")

    results = await conn.wait(flush(conn.pgconn, [Text(b"begin"), Text(b"commit")], ends=True))

    assert results[0].error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57P01"
    assert conn.closed


async def test_what_was_answered_before_the_connection_was_lost_is_kept(proxy: Any) -> None:
    async with await AsyncConnection.connect(proxy.url, autocommit=True) as conn:
        proxy.lose_answer_to = b"select 7"
        with pytest.raises(ConnectionLost) as caught:
            await conn.wait(flush(conn.pgconn, [Text(b"select 7"), Text(b"select 8")], ends=True))

        assert list(caught.value.results) == []
        assert conn.closed


async def test_a_flush_that_is_dropped_half_way_closes_the_connection(conn: Connection) -> None:
    generator = flush(conn.pgconn, [Text(b"begin"), Text(b"select pg_sleep(60)")], ends=True)
    next(generator)

    del generator
    gc.collect()

    assert conn.closed


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("slow", [True, False])
async def test_a_cancelled_flush_leaves_the_connection_idle_or_closed(
    conn: Connection, step: int, slow: bool
) -> None:
    sleep = Text(b"select pg_sleep(60)") if slow else Text(b"select 1")
    messages = [Text(b"begin"), sleep, Text(b"commit")]
    task = asyncio.ensure_future(conn.wait(flush(conn.pgconn, messages, ends=True)))
    for _ in range(step):
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled() or not slow
    assert conn.closed or (_is_idle(conn) and await _answers(conn))


async def test_a_flush_cancelled_twice_leaves_the_connection_closed_or_idle(
    conn: Connection,
) -> None:
    messages = [Text(b"begin"), Text(b"select pg_sleep(60)"), Text(b"commit")]
    task = asyncio.ensure_future(conn.wait(flush(conn.pgconn, messages, ends=True)))
    await asyncio.sleep(0.05)

    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert conn.closed or (_is_idle(conn) and await _answers(conn))


async def test_too_many_parameters_for_libpq_close_the_connection(conn: Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        await conn.wait(
            flush(conn.pgconn, [Text(b"begin"), Text(b"select 1", [b"1"] * 65536)], ends=True)
        )

    assert conn.closed
