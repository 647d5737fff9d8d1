"""Turns at the pool: fair, work-conserving, and none lost whatever is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_database.admission import Admission, Place
from mtenant_database.database import Database
from mtenant_database.errors import PoolExhausted, TenantThrottled
from mtenant_database.metrics import Metrics

LONG = 30.0


async def enter(admission: Admission, tenant: str | None, seconds: float = LONG) -> Place:
    return admission.enter_now(tenant) or await admission.enter(tenant, seconds)


def in_task(coroutine: Coroutine[Any, Any, Place]) -> asyncio.Task[Place]:
    # A task of its own each time: one that has a place takes no second.
    return asyncio.create_task(coroutine)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_while_nobody_waits_a_tenant_may_have_all_and_then_others_come_first() -> None:
    async def main() -> None:
        admission = Admission(4)
        flood = [await in_task(enter(admission, "a")) for _ in range(4)]
        more = [in_task(enter(admission, "a")) for _ in range(3)]
        await settle()
        other = in_task(enter(admission, "b"))
        await settle()
        assert (admission.taken, admission.waiting) == (4, 4)

        admission.leave(flood.pop())
        await settle()
        assert other.done()
        assert not any(task.done() for task in more)

        admission.leave(flood.pop())
        await settle()
        # "b" has what it wants, and so nobody but "a" waits: the place is not left empty.
        assert sum(task.done() for task in more) == 1

    run(main())


def test_tenants_that_wait_take_turns() -> None:
    async def main() -> None:
        admission = Admission(1)
        order: list[str] = []

        async def work(tenant: str) -> Place:
            place = await enter(admission, tenant)
            order.append(tenant)
            return place

        place = await in_task(enter(admission, "x"))
        tasks = [in_task(work(tenant)) for tenant in ["a"] * 3 + ["b"] * 2 + ["c"]]
        await settle()
        for _ in tasks:
            admission.leave(place)
            await settle()
            place = next(task.result() for task in tasks if task.done() and task.result().loans)
        assert "".join(order) == "abcaba"

    run(main())


def test_a_task_takes_one_place_for_what_it_does_inside() -> None:
    async def main() -> None:
        admission = Admission(1)
        outer = await enter(admission, "a")
        inner = await enter(admission, "a")
        assert inner is outer
        admission.leave(inner)
        assert admission.taken == 1
        admission.leave(outer)
        assert (admission.taken, admission.tenants) == (0, 0)

    run(main())


def test_over_its_cap_is_429_and_no_connection_is_503() -> None:
    async def main() -> None:
        admission = Admission(4, cap=2, queue=1)
        for tenant in "aab":
            await in_task(enter(admission, tenant))
        await in_task(enter(admission, "c"))
        with pytest.raises(TenantThrottled) as throttled:
            await admission.enter("a", 0.01)
        with pytest.raises(PoolExhausted) as exhausted:
            await admission.enter("b", 0.01)
        with pytest.raises(PoolExhausted):
            await admission.enter(None, 0.01)
        waits = in_task(admission.enter("a", LONG))
        await settle()
        with pytest.raises(TenantThrottled):
            await admission.enter("a", LONG)
        waits.cancel()
        await asyncio.wait([waits])

        assert (throttled.value.status_code, exhausted.value.status_code) == (429, 503)
        assert throttled.value.retry_after == exhausted.value.retry_after == 1
        assert admission.waiting == 0

    run(main())


def test_a_tenant_that_has_all_there_is_has_exhausted_the_pool() -> None:
    async def main() -> None:
        admission = Admission(1)
        await in_task(enter(admission, "a"))
        with pytest.raises(PoolExhausted):
            await admission.enter("a", 0.01)

    run(main())


def test_of_tenants_that_are_gone_nothing_is_kept() -> None:
    async def main() -> None:
        metrics = Metrics(tenants=100)
        admission = Admission(2, metrics=metrics)

        async def work(number: int) -> None:
            place = await enter(admission, f"t{number}")
            await asyncio.sleep(0)
            admission.leave(place)

        await asyncio.gather(*(work(number) for number in range(10_000)))
        assert (admission.taken, admission.waiting, admission.tenants) == (0, 0, 0)
        assert len(metrics.tenants()) == 101
        assert sum(usage.waits.count for usage in metrics.tenants()) >= 9_000

    run(main())


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "cancel", "turn"]), st.integers(0, 30)),
    max_size=60,
)


@settings(deadline=None)
@given(places=st.integers(1, 4), actions=ACTIONS)
def test_no_place_is_lost_and_none_is_idle_while_somebody_waits(
    places: int, actions: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        admission = Admission(places)
        tasks: list[asyncio.Task[Place]] = []
        for action, number in actions:
            if action == "enter":
                tasks.append(in_task(enter(admission, "abc"[number % 3])))
            elif action == "turn":
                await asyncio.sleep(0)
            elif tasks:
                task = tasks.pop(number % len(tasks))
                if action == "cancel":
                    task.cancel()  # perhaps in the moment in which it is its turn
                    await asyncio.wait([task])
                if task.done() and not task.cancelled():
                    admission.leave(task.result())
                elif action == "leave":
                    tasks.append(task)
            assert 0 <= admission.taken <= places
            assert not (admission.waiting and admission.taken < places)
        while tasks:
            done = [task for task in tasks if task.done()]
            for task in done:
                admission.leave(task.result())
                tasks.remove(task)
            await asyncio.sleep(0)
        assert (admission.taken, admission.waiting, admission.tenants) == (0, 0, 0)

    run(main())


@pytest.mark.anyio
async def test_a_flooding_tenant_leaves_room_on_a_server(place: Any) -> None:
    loud, quiet = place.fresh(), place.fresh()
    async with Database(place.config(max_open_conns=2), tenant_metrics=10) as db:
        flood = [
            asyncio.create_task(db.tenant(loud).fetch_value("select pg_sleep(0.01)"))
            for _ in range(200)
        ]
        await asyncio.sleep(0)
        for _ in range(5):
            assert await db.tenant(quiet).fetch_value("select name from contacts") == quiet
        assert sum(not task.done() for task in flood) > 100
        async with db.tenant(quiet).stream("select name from contacts") as rows:
            # Inside of its own stream it needs a second connection, and no second turn.
            assert await db.tenant(quiet).fetch_value("select 1") == 1
            assert [name async for (name,) in rows] == [quiet]
        for task in flood:
            task.cancel()
        await asyncio.wait(flood)
        assert (db.admission.taken, db.admission.waiting) == (0, 0)


@pytest.mark.anyio
async def test_admission_refuses_nonsense() -> None:
    for places, cap, queue in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            Admission(places, cap=cap, queue=queue)
