from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_database.database import Database
from mtenant_database.errors import CommitUnknown, SerializationConflict
from mtenant_database.retry import attempts
from mtenant_database.transaction import Transaction

pytestmark = pytest.mark.anyio


async def test_run_runs_the_whole_transaction_again_until_it_fits(db: Database, place: Any) -> None:
    handle = db.tenant(
        place.fresh("create table counters (n int)", "insert into counters values (0)")
    )
    both = asyncio.Barrier(2)
    calls = 0

    async def increment(tx: Transaction, by: int) -> int:
        nonlocal calls
        calls += 1
        waits = calls <= 2
        value = int(await tx.fetch_value("select n from counters"))
        if waits:  # else one connection may serve all before there is another
            await both.wait()
        await tx.execute("update counters set n = %s", [value + by])
        return value

    results = await asyncio.gather(
        *(handle.run(increment, 1, retry=30, isolation="serializable") for _ in range(6))
    )

    assert sorted(results) == list(range(6))
    assert await handle.fetch_value("select n from counters") == 6
    assert calls > 6


async def test_a_deadlock_is_tried_again(db: Database, place: Any) -> None:
    handle = db.tenant(place.fresh("insert into contacts values (2, '2')"))
    both = asyncio.Barrier(2)
    tries: list[int] = []

    async def lock(tx: Transaction, first: int, second: int) -> None:
        tries.append(first)
        await tx.execute("update contacts set name = 'x' where id = %s", [first])
        if len(tries) <= 2:
            await both.wait()
        await tx.execute("update contacts set name = 'x' where id = %s", [second])

    await asyncio.gather(handle.run(lock, 1, 2), handle.run(lock, 2, 1))

    assert len(tries) == 3


async def test_the_last_conflict_is_raised(db: Database, place: Any) -> None:
    calls = 0

    async def conflict(tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        await tx.execute("do $$begin raise exception using errcode = '40001'; end$$")

    with pytest.raises(SerializationConflict):
        await db.tenant(place.fresh()).run(conflict, retry=2)
    assert calls == 3
    calls = 0
    with pytest.raises(SerializationConflict):
        await db.tenant(place.fresh()).run(conflict, retry=0)
    assert calls == 1


@pytest.mark.parametrize("error", [KeyError, CommitUnknown])
async def test_nothing_else_is_tried_again(
    db: Database, place: Any, error: type[Exception]
) -> None:
    calls = 0

    async def fail(tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(error):
        await db.tenant(place.fresh()).run(fail)
    assert calls == 1


async def test_a_return_inside_of_an_attempt_waits_for_the_commit(db: Database, place: Any) -> None:
    handle = db.tenant(
        place.fresh(
            "create sequence tries",
            "create function fail_once() returns trigger language plpgsql as $$ begin"
            " if nextval('tries') = 1 then raise exception using errcode = '40001'; end if;"
            " return null; end $$",
            "create constraint trigger late after insert on contacts deferrable initially deferred"
            " for each row execute function fail_once()",
        )
    )

    async def insert() -> int:
        async for attempt in handle.attempts(3):
            with attempt:
                async with handle.transaction() as tx:
                    await tx.execute("insert into contacts values (2, 'x')")
                    return attempt.number
        raise AssertionError

    # The trigger's first failure comes from COMMIT, after the `return`.
    assert await insert() == 2
    assert await handle.fetch_value("select count(*) from contacts") == 2


async def test_attempts_end_with_success() -> None:
    seen = []
    async for attempt in attempts(5):
        with attempt:
            seen.append(attempt.number)
            if attempt.number < 3:
                raise SerializationConflict

    assert seen == [1, 2, 3]


async def test_it_takes_one_attempt_at_least() -> None:
    with pytest.raises(ValueError, match="at least one"):
        async for _ in attempts(0):
            pass
