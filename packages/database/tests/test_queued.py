# ruff: noqa: PT012 -- an error of COMMIT comes from the end of a block
"""What is queued goes with the next statement: the same as if it had been sent, and no round trip."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_database.database import Database
from mtenant_database.errors import (
    ConstraintConflict,
    InvalidReference,
    InvalidValue,
    StatementFault,
    StillReferenced,
    TransactionAborted,
    TransactionOpen,
)
from mtenant_database.telemetry import Telemetry
from mtenant_database.testing import RecordingDatabase
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio

COUNT = "select count(*) from contacts"
INSERT = "insert into contacts values (%s, %s)"
AGAIN = "insert into contacts values (1, 'again')"
NOTES = (
    "create table notes (contact int references contacts, body text)",
    "insert into notes values (1, 'first')",
)


async def _ids(on: Any) -> list[int]:
    return [row[0] for row in await on.fetch_all("select id from contacts order by id")]


async def test_what_is_queued_costs_no_round_trip(place: Any, proxy: Any) -> None:
    config = place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)
    async with Database(config) as db:
        handle = db.tenant(place.fresh())

        async def trips(work: Callable[[Any], Awaitable[object]]) -> int:
            before = int(proxy.trips)
            async with handle.transaction() as tx:
                await work(tx)
            return int(proxy.trips) - before

        async def beside_a_change(tx: Any) -> None:
            await tx.execute(INSERT, [2, "a"])
            await tx.queue(INSERT, [3, "b"])
            await tx.queue(INSERT, [4, "c"])

        async def ahead_of_a_read(tx: Any) -> None:
            await tx.queue(INSERT, [5, "d"])
            assert await _ids(tx) == [1, 2, 3, 4, 5]

        async def alone(tx: Any) -> None:
            await tx.queue(INSERT, [6, "e"])

        assert [await trips(work) for work in (beside_a_change, ahead_of_a_read, alone)] == [2] * 3
        assert await _ids(handle) == [1, 2, 3, 4, 5, 6]


async def test_many_are_sent_before_they_are_too_many(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    async with handle.transaction() as tx:
        for number in range(2, 2502):
            await tx.queue(INSERT, [number, "x"])
            assert len(tx._unit.pending) < 1000
    assert await handle.fetch_value(COUNT) == 2501


async def test_an_error_is_raised_by_the_next_statement(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh(*NOTES))
    with pytest.raises(ConstraintConflict):
        async with handle.transaction() as tx:
            await tx.execute(INSERT, [2, "a"])
            await tx.queue(AGAIN)
            await tx.fetch_all("select 1")
    assert await _ids(handle) == [1]


@pytest.mark.parametrize("first", [[], [INSERT]], ids=["alone", "behind a change"])
@pytest.mark.parametrize(
    ("queued", "expected"),
    [
        (AGAIN, ConstraintConflict),
        ("insert into notes values (9, 'x')", InvalidReference),
        ("delete from contacts where id = 1", StillReferenced),
        ("select 1 / 0", AppError),
    ],
)
async def test_an_error_is_raised_at_the_commit_and_nothing_is_saved(
    db: Database, place: Any, queued: str, expected: type[AppError], first: list[str]
) -> None:
    handle = db.tenant(place.fresh(*NOTES))
    called: list[str] = []
    with pytest.raises(expected):
        async with handle.transaction() as tx:
            tx.on_commit(lambda: called.append("committed"))
            for statement in first:
                await tx.execute(statement, [2, "a"])
            await tx.queue(queued)
    assert await _ids(handle) == [1]
    assert called == []
    assert db.pool.get_stats()["pool_used"] == 0


async def test_a_missing_table_is_told_as_everywhere(db: Database, place: Any) -> None:
    async def sent(tx: Any) -> None:
        await tx.execute("insert into missing values (1)")

    async def queued(tx: Any) -> None:
        await tx.queue("insert into missing values (1)")

    said = []
    for work in (sent, queued):
        with pytest.raises(StatementFault) as caught:
            await db.tenant(place.fresh()).run(work)
        said.append((type(caught.value), caught.value.internal))
    assert said[0] == said[1]


async def test_an_error_belongs_to_the_block_in_which_it_was_queued(
    db: Database, place: Any
) -> None:
    handle = db.tenant(place.fresh())
    async with handle.transaction() as tx:
        await tx.queue(INSERT, [2, "before"])
        with pytest.raises(ConstraintConflict):
            async with tx.transaction():
                await tx.queue(INSERT, [3, "gone"])
                await tx.queue(AGAIN)
        async with tx.transaction():
            await tx.queue(INSERT, [4, "inside"])
        with contextlib.suppress(KeyError):
            async with tx.transaction():
                await tx.queue(INSERT, [5, "gone"])
                raise KeyError
        await tx.queue(INSERT, [6, "after"])
    assert await _ids(handle) == [1, 2, 4, 6]


async def test_an_error_from_before_a_block_fails_the_whole(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    with pytest.raises(TransactionAborted):
        async with handle.transaction() as tx:
            await tx.queue(AGAIN)
            with contextlib.suppress(ConstraintConflict):
                async with tx.transaction():
                    await tx.execute(INSERT, [2, "a"])
    assert await _ids(handle) == [1]


async def test_an_exception_drops_what_was_queued(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    with pytest.raises(KeyError):
        async with handle.transaction() as tx:
            await tx.queue(INSERT, [2, "a"])
            raise KeyError
    assert await _ids(handle) == [1]


async def test_what_may_not_be_sent_may_not_be_queued(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    async with handle.transaction() as tx:
        for refused in ("commit", "set search_path to tenant_other", "copy contacts from stdin"):
            with pytest.raises(ValueError, match="is not for here"):
                await tx.queue(refused)
        with pytest.raises(InvalidValue):
            await tx.queue(INSERT, [2, "\0"])
    with pytest.raises(TransactionOpen):
        await tx.queue(INSERT, [2, "late"])
    assert await _ids(handle) == [1]


async def test_the_parameters_are_those_of_the_call(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh())
    params = [2, "then"]
    async with handle.transaction() as tx:
        await tx.queue(INSERT, params)
        params[1] = "now"
    assert await handle.fetch_value("select name from contacts where id = 2") == "then"


@pytest.mark.parametrize("first", [[], [INSERT]], ids=["alone", "behind a change"])
async def test_a_commit_whose_answer_was_lost_is_resolved(
    place: Any, proxy: Any, first: list[str]
) -> None:
    async with Database(place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)) as db:
        handle = db.tenant(place.fresh())
        async with handle.transaction() as tx:
            for statement in first:
                await tx.execute(statement, [2, "a"])
            await tx.queue(INSERT, [3, "b"])
            proxy.lose_answer_to = b"mtenant_commit"
        assert proxy.lost == 1
        assert 3 in await _ids(handle)


async def test_a_log_and_a_trace_name_every_statement_of_the_round_trip(place: Any) -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    async with Database(place.config()) as db:
        db._engine.telemetry = Telemetry(db.metrics, db.config, tracer_provider=tracers)
        async with db.tenant(place.fresh()).transaction() as tx:
            for number in (2, 3):
                await tx.queue(INSERT, [number, "secret"])
            await tx.execute("update contacts set name = %s", ["secret"])
            await tx.queue(INSERT, [4, "secret"])
    texts = [
        (span.attributes or {}).get("db.query.text")
        for span in exporter.get_finished_spans()
        if span.name != "transaction"
    ]
    assert texts == [f"{INSERT}; update contacts set name = %s", f"{INSERT}; COMMIT"]


STEPS = st.recursive(
    st.tuples(st.sampled_from(["queue", "execute"]), st.integers(1, 12)),
    lambda step: st.tuples(
        st.sampled_from(["block", "given up"]), st.lists(step, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def arena(place: Any) -> Any:
    """A tenant, a connection, and a loop that hypothesis' examples share."""
    with asyncio.Runner() as runner:
        db = Database(place.config(max_open_conns=1, max_idle_conns=1))
        runner.run(db.connect())
        try:
            yield runner, db.tenant(place.fresh())
        finally:
            runner.run(db.close())


@given(steps=st.lists(STEPS, min_size=1, max_size=6))
def test_queueing_saves_what_sending_saves(arena: Any, steps: Any) -> None:
    runner, handle = arena

    async def walk(tx: Any, steps: Any, *, queues: bool) -> None:
        for kind, what in steps:
            if kind in ("queue", "execute"):
                send = tx.queue if queues and kind == "queue" else tx.execute
                await send(INSERT, [what, "x"])
                continue
            with contextlib.suppress(KeyError):
                async with tx.transaction():
                    await walk(tx, what, queues=queues)
                    if kind == "given up":
                        raise KeyError

    async def outcome(*, queues: bool) -> tuple[object, list[int]]:
        await handle.execute("delete from contacts where id > 1")
        told: object = "saved"
        try:
            async with handle.transaction() as tx:
                await walk(tx, steps, queues=queues)
        except ConstraintConflict:
            told = "conflict"
        return told, await _ids(handle)

    async def both() -> tuple[Any, Any]:
        return await outcome(queues=True), await outcome(queues=False)

    queued, sent = runner.run(both())
    if _gives_up_on_an_error(steps):
        return  # what was queued in a block that is given up is never sent, and cannot fail
    assert queued == sent


def _gives_up_on_an_error(steps: Any) -> bool:
    return any(
        kind == "given up" or (kind == "block" and _gives_up_on_an_error(what))
        for kind, what in steps
        if kind in ("given up", "block")
    )


@pytest.fixture(params=["real", "fake"])
async def both(request: pytest.FixtureRequest, place: Any) -> AsyncIterator[Any]:
    """A tenant's handle, real and recorded, on which one statement fails."""
    if request.param == "real":
        async with Database(place.config()) as db:
            yield db.tenant(place.fresh())
        return
    fake = RecordingDatabase()
    fake.on(AGAIN, error=ConstraintConflict(constraint="contacts_pkey"))
    fake.on("select 1", rows=[{"?column?": 1}])
    yield fake.tenant("acme")


async def test_the_fake_queues_as_the_real_one(both: Any) -> None:
    with pytest.raises(ConstraintConflict):
        async with both.transaction() as tx:
            await tx.queue(AGAIN)
    with pytest.raises(TransactionAborted):
        async with both.transaction() as tx:
            await tx.queue(AGAIN)
            with pytest.raises(ConstraintConflict):
                await tx.fetch_all("select 1")
    async with both.transaction() as tx:
        with pytest.raises(ConstraintConflict):
            async with tx.transaction():
                await tx.queue(AGAIN)
        await tx.queue(INSERT, [2, "a"])
    with pytest.raises(ValueError, match="is not for here"):
        async with both.transaction() as tx:
            await tx.queue("commit")
