"""The bus in memory fails as it is told to, and keeps virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_errors import AppError
from mtenant_events.consumer.outcome import Retry
from mtenant_events.context import event_context
from mtenant_events.errors import (
    BusClosed,
    EventsUnavailable,
    EventTooLarge,
    PublishUnknown,
    TenantMismatch,
)
from mtenant_events.event import Event
from mtenant_events.inbox import History
from mtenant_events.memory import MemoryBus, MemoryInbox, VirtualClock
from mtenant_events.subscriptions import Subscriptions
from mtenant_events.testing import RecordingPublisher


def _event(data: Any = None) -> Event[Any]:
    return Event(type="deal.won", source="/x", tenant="acme", data=data)


def test_publishing_fails_as_told_and_the_message_may_be_stored_all_the_same() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            bus.fail_next(1)
            bus.fail_next(1, EventsUnavailable(), stored=True)
            with pytest.raises(PublishUnknown):
                await bus.publish(_event())
            assert bus.messages == []
            event = _event()
            with pytest.raises(EventsUnavailable):
                await bus.publish(event)
            again = await bus.publish(event)
            assert (again.duplicate, again.sequence, len(bus.messages)) == (True, 1, 1)
            bus.fail_next(1)
            first, second = await bus.publish_many([_event(), _event()])
            assert isinstance(first, AppError)
            assert not isinstance(second, AppError)

    asyncio.run(main())


def test_the_stream_knows_an_id_for_its_window_of_virtual_time() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            event = _event()
            await bus.publish(event)
            await bus.advance(599)
            assert (await bus.publish(event)).duplicate
            await bus.advance(2)
            assert not (await bus.publish(event)).duplicate

    asyncio.run(main())


def test_a_bus_that_is_disconnected_delivers_nothing_and_sends_acks_later() -> None:
    async def main() -> None:
        subs, seen, go = Subscriptions(), [], asyncio.Event()

        @subs.on("deal.won", name="h")
        async def handle(event: Event[Any]) -> None:
            await go.wait()
            seen.append(event.data)

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            await bus.publish(_event(1))
            while not bus.health().consumers[0].in_flight:  # type: ignore[attr-defined]  # ours
                await asyncio.sleep(0)
            bus.disconnect()
            assert not bus.health().healthy
            with pytest.raises(EventsUnavailable):
                await bus.publish(_event(2))
            go.set()
            await bus.advance(10)
            bus.reconnect()
            await bus.publish(_event(3))
            await bus.settle()
            assert seen == [1, 3]
            assert bus.health().healthy

    asyncio.run(main())


def test_an_event_that_never_ends_is_told_and_not_waited_for() -> None:
    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="h")
        async def handle(event: Event[Any]) -> None:
            raise Retry(after=60)

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            await bus.publish(_event())
            with pytest.raises(TimeoutError, match="1 events are not handled after 600 s"):
                await bus.settle(limit=600)

    asyncio.run(main())


def test_a_closed_bus_takes_nothing() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            pass
        await bus.close()
        with pytest.raises(BusClosed):
            await bus.publish(_event())
        assert bus.health().closed

    asyncio.run(main())


def test_a_handler_that_waits_for_something_real_is_waited_for() -> None:
    async def main() -> None:
        subs, done = Subscriptions(), []

        @subs.on("deal.won", name="h", timeout=1)
        async def handle(event: Event[Any]) -> None:
            await asyncio.to_thread(lambda: None)
            done.append(event)

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            await bus.publish(_event())
            await bus.settle()
            assert len(done) == 1
            assert bus.clock.now() == 0

    asyncio.run(main())


def test_virtual_time_moves_from_one_thing_to_the_next() -> None:
    async def main() -> None:
        clock, told = VirtualClock(), []
        sleeping = asyncio.ensure_future(clock.sleep(5))
        cancelled = clock.call_later(1, lambda: told.append("cancelled"))
        clock.call_later(2, lambda: told.append("two"))
        cancelled.cancel()
        await asyncio.sleep(0)
        assert sleeping in clock.sleeping
        assert clock.step(10)
        assert (clock.now(), told) == (2, ["two"])
        assert clock.step(10)
        await sleeping
        assert clock.now() == 5
        assert not clock.step(10)
        assert clock.now() == 10
        assert clock.next is None

    asyncio.run(main())


def test_the_inbox_in_memory_makes_a_second_delivery_wait_and_rolls_back() -> None:
    async def main() -> None:
        inbox = MemoryInbox()
        async with inbox.transaction("a") as first:
            assert await inbox.begin(first, "c", "e") == History()
            async with inbox.transaction("a") as second:
                waiting = asyncio.ensure_future(inbox.begin(second, "c", "e"))
                await asyncio.sleep(0)
                assert not waiting.done()
                await first.__aexit__(ValueError, ValueError(), None)
                assert await waiting == History()
            first._on_end.clear()
            first._on_commit.clear()
        async with inbox.transaction("a") as third:
            assert await inbox.begin(third, "c", "e") is None
        async with inbox.transaction("a") as fourth:
            assert await inbox.end(fourth, "c", "e", raised=True) is None
        async with inbox.transaction("b") as other:
            assert await inbox.begin(other, "c", "e") == History()
        with pytest.raises(TypeError, match="own transactions"):
            await inbox.begin(object(), "c", "e")  # type: ignore[arg-type]  # on purpose
        for verb in (other.execute, other.fetch_all):
            with pytest.raises(TypeError, match="no database"):
                await verb("select 1")

    asyncio.run(main())


def test_a_recording_publisher_refuses_what_a_bus_refuses() -> None:
    async def main() -> None:
        publisher = RecordingPublisher()
        with pytest.raises(EventTooLarge):
            await publisher.publish(_event("x" * (2 << 20)))
        with event_context(tenant="other"), pytest.raises(TenantMismatch):
            await publisher.publish(_event())
        with pytest.raises(EventTooLarge):
            await publisher.publish_many([_event(), _event("x" * (2 << 20))])
        assert publisher.published == []
        await publisher.publish_many([_event(1), _event(2)])
        assert [event.data for event in publisher.of("deal.won", tenant="acme")] == [1, 2]
        assert publisher.of("deal.won", tenant="other") == []
        for type_ in ("deal.won", "deal.lost"):
            with pytest.raises(AssertionError, match="events of"):
                publisher.only(type_)

    asyncio.run(main())
