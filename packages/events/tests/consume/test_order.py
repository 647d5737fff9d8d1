"""Order by key, whatever fails and however many processes take part."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_events.event import Event
from mtenant_events.memory import MemoryBus
from mtenant_events.subjects import partition_of
from mtenant_events.subscriptions import Subscriptions

MOST = 3  # attempts


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Any:
    logging.getLogger("mtenant_events").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("mtenant_events").setLevel(logging.NOTSET)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([f"k{number}" for number in range(6)]),
        st.integers(0, MOST + 1),  # how often it fails
        st.sampled_from([0.0, 0.1, 5.0]),  # how long it takes
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    events=EVENTS,
    processes=st.integers(1, 3),
    concurrency=st.integers(1, 8),
    lost=st.integers(0, 4),
    crash=st.booleans(),
)
def test_a_partition_is_handled_in_its_order_one_event_at_a_time(
    events: list[tuple[str, int, float]], processes: int, concurrency: int, lost: int, crash: bool
) -> None:
    calls: dict[int, list[int]] = defaultdict(list)
    busy: set[int] = set()
    failures: dict[int, int] = defaultdict(int)
    crashed = False

    async def main() -> None:
        nonlocal crashed
        subs = Subscriptions()

        @subs.on("a.b", name="h", ordering="key", concurrency=concurrency, max_attempts=MOST)
        async def handle(event: Event[Any]) -> None:
            number = event.data
            key, fails, seconds = events[number]
            partition = partition_of(key)
            assert partition not in busy
            busy.add(partition)
            calls[partition].append(number)
            try:
                await bus.clock.sleep(seconds)
            finally:
                busy.discard(partition)
            if failures[number] < fails:
                failures[number] += 1
                raise ValueError

        async with MemoryBus() as bus:
            groups = [bus.include(subs, service="s") for _ in range(processes)]
            for number, (key, _, _) in enumerate(events):
                await bus.publish(
                    Event(type="a.b", source="/x", tenant="t", data=number, subject=key)
                )
            bus.drop_acks(lost)
            await bus.advance(0.05)
            if crash and processes > 1:
                bus.crash(groups[0])
                crashed = True
            await bus.settle()
            dead = {letter.sequence - 1 for letter in bus.dead_letters}
            if not lost and not crashed:
                assert dead == {n for n, (_, fails, _) in enumerate(events) if fails >= MOST}

    asyncio.run(main())
    for partition, numbers in calls.items():
        wanted = [n for n, (key, _, _) in enumerate(events) if partition_of(key) == partition]
        # Each comes again until it is settled, and none begins before the one ahead of it is.
        assert numbers == sorted(numbers)
        assert sorted(set(numbers)) == wanted
        assert all(numbers.count(n) <= MOST + lost + crashed for n in wanted)


def test_on_a_server_the_order_of_each_key_holds_over_two_processes_with_failures(
    place: Any,
) -> None:
    async def main() -> None:
        subs = Subscriptions()
        handled: dict[str, list[int]] = defaultdict(list)
        busy: set[int] = set()
        failed: set[int] = set()

        @subs.on("deal.won", name="h", ordering="key", first_delay=0.01)
        async def handle(event: Event[Any]) -> None:
            number, key = event.data["deal"], str(event.subject)
            assert partition_of(key) not in busy
            busy.add(partition_of(key))
            await asyncio.sleep(0)
            busy.discard(partition_of(key))
            if number % 11 == 5 and number not in failed:
                failed.add(number)
                raise ValueError
            handled[key].append(number)

        async with place.open() as bus:
            for _ in range(2):
                bus.include(subs, service="svc")
            await bus.publish_many(
                [place.event(number, key=f"k{number % 23}") for number in range(600)]
            )
            await place.until(lambda: sum(map(len, handled.values())) == 600)
            assert len(failed) > 50
            assert all(numbers == sorted(numbers) for numbers in handled.values())
            assert await place.dead() == []

    asyncio.run(main())
