"""What may be added to the outbox, by whom, and when it is seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from mtenant_events.config import EventsConfig
from mtenant_events.errors import EventTooLarge, TenantMismatch, TenantRequired
from mtenant_events.event import Event
from mtenant_events.outbox import Outbox
from mtenant_events.registry import event_type
from mtenant_events.store.errors import TransactionRequired
from mtenant_events.store.transaction import PsycopgTransaction

CONFIG = EventsConfig()


def _event(**fields: Any) -> Event[Any]:
    return Event(type="deal.won", source="/test", **({"tenant": "acme", "data": {"n": 1}} | fields))


@asynccontextmanager
async def _transaction(
    place: Any, tenant: str | None = "acme"
) -> AsyncIterator[PsycopgTransaction]:
    async with await psycopg.AsyncConnection.connect(place.app) as conn:
        # As mtenant-database scopes a transaction.
        await conn.execute("select set_config('mtenant.tenant_id', %s, true)", [tenant or ""])
        yield PsycopgTransaction(conn, tenant=tenant)


def test_an_event_waits_when_its_transaction_has_committed(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            added = await Outbox(CONFIG).add(tx, _event(), key=17)
            assert place.waiting == 0
        ((tenant, key, subject, headers, body),) = place.run(
            "select tenant, key, subject, headers, body from eventing.outbox"
        )

        assert (tenant, key) == ("acme", "17")
        assert subject.startswith("crm.evt.acme.deal.won.")
        assert headers["Nats-Msg-Id"] == f"acme:{added.id}"
        assert json.loads(body)["id"] == added.id

    asyncio.run(main())


def test_what_waits_of_all_tenants_is_counted_in_a_transaction(place: Any) -> None:
    async def main() -> None:
        outbox = Outbox(CONFIG)
        for tenant in ("acme", "globex"):
            async with _transaction(place, tenant) as tx:
                await outbox.add(tx, _event(tenant=tenant), key=tenant)
        place.run("update eventing.outbox set delayed_until = now() where key = 'acme'")
        async with _transaction(place, None) as tx:
            status = await outbox.status(tx)
        assert (status.pending, status.failed) == (2, 1)
        assert status.oldest_age > 0
        async with await psycopg.AsyncConnection.connect(place.app) as conn:
            with pytest.raises(TransactionRequired):
                await outbox.status(conn)  # type: ignore[arg-type]

    asyncio.run(main())


def test_an_event_of_a_transaction_that_rolls_back_is_gone(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            await Outbox(CONFIG).add(tx, _event())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert place.waiting == 0


def test_a_connection_that_commits_each_statement_by_itself_is_refused(place: Any) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(place.app, autocommit=True) as conn:
            tx = PsycopgTransaction(conn, tenant="acme")
            with pytest.raises(TransactionRequired):
                await Outbox(CONFIG).add(tx, _event())
            async with conn.transaction():
                await Outbox(CONFIG).add(tx, _event())

    asyncio.run(main())
    assert place.waiting == 1


def test_what_is_no_transaction_is_refused_before_anything_is_sent() -> None:
    class Handle:
        async def execute(self, query: str, params: object = None) -> None:
            raise AssertionError("it must not be asked")

    class Database(Handle):
        def tenant(self, tenant: str) -> Handle:
            return Handle()

    for wrong in (Handle(), Database()):
        with pytest.raises(TransactionRequired):
            asyncio.run(Outbox(CONFIG).add(wrong, _event()))  # type: ignore[arg-type]  # that is the point


def test_an_event_of_another_tenant_is_refused(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            with pytest.raises(TenantMismatch):
                await Outbox(CONFIG).add(tx, _event(tenant="blue"))

    asyncio.run(main())


def test_the_server_refuses_an_event_of_another_tenant_too(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            liar = PsycopgTransaction(tx._connection, tenant="blue")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                await Outbox(CONFIG).add(liar, _event(tenant="blue"))

    asyncio.run(main())


@event_type("deal.won")
@dataclass
class DealWon:
    """A payload, which names no tenant."""

    n: int


def test_a_transaction_of_no_tenant_adds_events_that_name_theirs(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place, tenant=None) as tx:
            with pytest.raises(TenantRequired):
                await Outbox(CONFIG).add(tx, DealWon(1))
            await Outbox(CONFIG).add(tx, _event(tenant="blue"))

    asyncio.run(main())
    assert place.run("select tenant from eventing.outbox") == [("blue",)]


def test_nobody_but_a_relay_reads_or_changes_what_waits(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            await Outbox(CONFIG).add(tx, _event())
        for tenant in ("acme", "blue", None):
            async with _transaction(place, tenant=tenant) as tx:
                seen = await tx.fetch_all("select from eventing.outbox")
                changed = await tx.fetch_all("update eventing.outbox set key = '' returning 1")
                gone = await tx.fetch_all("delete from eventing.outbox returning 1")
                assert seen == changed == gone == []

    asyncio.run(main())
    assert place.waiting == 1


def test_an_event_that_is_too_large_is_refused_before_anything_is_sent(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            with pytest.raises(EventTooLarge):
                await Outbox(CONFIG).add(tx, _event(data={"n": "x" * (1 << 20)}))
            await Outbox(CONFIG).add(tx, _event())  # the transaction has not failed

    asyncio.run(main())
    assert place.waiting == 1


def test_many_events_are_one_statement_and_keep_their_order(place: Any) -> None:
    async def main() -> None:
        woken = []

        def wake(*, committed: bool = False) -> None:
            woken.append(committed)

        outbox = Outbox(CONFIG, wake=wake)
        async with _transaction(place) as tx:
            assert await outbox.add_many(tx, []) == []
            added = await outbox.add_many(tx, [_event(data={"n": n}) for n in range(100)], key="k")
        bodies = place.run("select body from eventing.outbox order by id")

        assert [json.loads(body)["id"] for (body,) in bodies] == [event.id for event in added]
        assert woken == [False]  # psycopg does not tell when it has committed

    asyncio.run(main())


def test_the_key_is_the_events_subject_and_else_its_id(place: Any) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            added = await Outbox(CONFIG).add_many(tx, [_event(subject="deal-7"), _event()])
        assert place.run("select key from eventing.outbox order by id") == [
            ("deal-7",),
            (added[1].id,),
        ]

    asyncio.run(main())


@pytest.mark.parametrize("key", ["", "x" * 513, "\u00e4" * 257, "a\0b"])
def test_a_key_that_no_index_could_hold_is_refused(place: Any, key: str) -> None:
    async def main() -> None:
        async with _transaction(place) as tx:
            with pytest.raises(ValueError, match="a key is 1 to 512 bytes"):
                await Outbox(CONFIG).add(tx, _event(), key=key)
            await Outbox(CONFIG).add(tx, _event(), key="x" * 512)

    asyncio.run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_ordered_makes_the_second_writer_of_a_key_wait_and_no_other(
    place: Any, *, ordered: bool
) -> None:
    async def main() -> None:
        outbox = Outbox(CONFIG)
        async with _transaction(place) as first:
            await outbox.add(first, _event(), key="k", ordered=ordered)
            async with _transaction(place) as other:
                await outbox.add(other, _event(), key="other", ordered=ordered)

            async def second() -> None:
                async with _transaction(place) as tx:
                    await outbox.add(tx, _event(), key="k", ordered=ordered)

            task = asyncio.create_task(second())
            done, _ = await asyncio.wait({task}, timeout=0.3)
            assert bool(done) is not ordered
        await task

    asyncio.run(main())
    assert place.waiting == 3


def test_ordered_writers_of_the_same_keys_in_any_order_do_not_deadlock(place: Any) -> None:
    async def main() -> None:
        outbox = Outbox(CONFIG)

        async def write(n: int) -> None:
            subjects = ["a", "b", "c", "d"] if n % 2 else ["d", "c", "b", "a"]
            async with _transaction(place) as tx:
                events = [_event(subject=subject) for subject in subjects]
                await outbox.add_many(tx, events, ordered=True)

        await asyncio.gather(*(write(n) for n in range(20)))

    asyncio.run(main())
    assert place.waiting == 80
