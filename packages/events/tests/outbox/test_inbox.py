"""The inbox: an event that comes twice has one effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from mtenant_events.inbox import History, Inbox
from mtenant_events.store.transaction import PsycopgTransaction


@asynccontextmanager
async def _transaction(place: Any) -> AsyncIterator[PsycopgTransaction]:
    async with await psycopg.AsyncConnection.connect(place.app) as conn:
        await conn.execute("set local search_path to tenant_acme, pg_temp")
        yield PsycopgTransaction(conn, tenant="acme")


@pytest.fixture
def acme(place: Any) -> Any:
    """A place with a tenant."""
    place.tenant("acme")
    return place


async def _handle(place: Any, event_id: str, *, consumer: str = "c") -> bool:
    """Handle an event as a consumer does; tell whether it was new."""
    async with _transaction(place) as tx:
        if await Inbox().begin(tx, consumer, event_id) is None:
            return False
        await tx.execute("insert into effects values (%s, %s)", [consumer, event_id])
        return True


def test_an_event_is_handled_once_by_each_consumer(acme: Any) -> None:
    async def main() -> None:
        assert [await _handle(acme, "e") for _ in range(3)] == [True, False, False]
        assert await _handle(acme, "e", consumer="other")

    asyncio.run(main())
    assert acme.value("select count(*) from tenant_acme.effects") == 2


def test_an_event_that_comes_many_times_at_once_is_handled_once(acme: Any) -> None:
    async def main() -> list[bool]:
        return await asyncio.gather(*(_handle(acme, "e") for _ in range(10)))

    assert sorted(asyncio.run(main())) == [False] * 9 + [True]
    assert acme.value("select count(*) from tenant_acme.effects") == 1


def test_a_handler_that_fails_leaves_no_trace_and_is_called_again(acme: Any) -> None:
    async def fail() -> None:
        async with _transaction(acme) as tx:
            assert await Inbox().begin(tx, "c", "e") == History()
            await tx.execute("insert into effects values ('c', 'e')")
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await _handle(acme, "e")

    asyncio.run(main())
    assert acme.value("select count(*) from tenant_acme.effects") == 1


def test_it_counts_the_attempts_and_what_ended_in_a_known_way(acme: Any) -> None:
    inbox = Inbox()

    async def end(*, raised: bool) -> History | None:
        async with _transaction(acme) as tx:
            return await inbox.end(tx, "c", "e", raised=raised)

    async def main() -> None:
        assert await end(raised=True) == History(1, 1)
        assert await end(raised=False) == History(1, 2)
        assert await end(raised=True) == History(2, 3)
        async with _transaction(acme) as tx:
            assert await inbox.begin(tx, "c", "e") == History(2, 3)
        # Another delivery has handled it: nothing counts any more.
        assert await end(raised=True) is None
        assert not await _handle(acme, "e")

    asyncio.run(main())


def test_purge_forgets_by_age_and_nothing_younger(acme: Any) -> None:
    acme.run(
        "insert into tenant_acme.event_inbox (consumer, event_id, received_at, handled_at)"
        " select 'c', n::text, now() - n * interval '1 hour', now() from generate_series(1, 2500) n"
    )

    gone = asyncio.run(Inbox().purge(lambda: _transaction(acme), timedelta(hours=200, minutes=30)))

    assert gone == 2300
    assert acme.value("select max(event_id::int) from tenant_acme.event_inbox") == 200
