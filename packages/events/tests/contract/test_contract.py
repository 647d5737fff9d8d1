"""What every bus promises to its handlers: in memory, and on a server."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from mtenant_events.consumer.outcome import Permanent, Retry, Skip
from mtenant_events.context import current_context
from mtenant_events.event import Event, Message
from mtenant_events.registry import event_type
from mtenant_events.subscriptions import Subscriptions

FAST = 0.01  # seconds until the second attempt


@event_type("deal.won")
@dataclass(frozen=True)
class Won:
    deal: str


def _collecting(subs: Subscriptions, **options: Any) -> list[Event[Any]]:
    """Declare a handler that keeps its events."""
    seen: list[Event[Any]] = []
    options.setdefault("name", "log")

    @subs.on("deal.won", **options)
    async def log(event: Event[Any]) -> None:
        seen.append(event)

    return seen


def test_an_event_reaches_each_handler_once_with_its_payload(world: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        typed: list[Event[Won]] = []
        plain = _collecting(subs)

        @subs.on(Won, name="typed")
        async def handle(event: Event[Won]) -> None:
            typed.append(event)

        async with world.open():
            await world.include(subs).ready()
            await world.publish("d1")
            await world.publish("other", type_="deal.lost")
            await world.settled()
            assert [event.data for event in typed] == [Won("d1")]
            assert [event.data for event in plain] == [{"deal": "d1"}]

    asyncio.run(main())


def test_events_published_before_the_consumer_existed_are_handled(world: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        seen = _collecting(subs)
        late = _collecting(subs, name="late", deliver="new")
        async with world.open():
            await world.publish("d1")
            await world.include(subs).ready()
            await world.publish("d2")
            await world.settled()
            assert [event.data["deal"] for event in seen] == ["d1", "d2"]
            assert [event.data["deal"] for event in late] == ["d2"]

    asyncio.run(main())


def test_two_groups_of_one_service_share_the_events_and_two_services_do_not(world: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        seen = _collecting(subs)
        async with world.open():
            for service in ("one", "one", "two"):
                await world.include(subs, service=service).ready()
            await world.publish(*(f"d{n}" for n in range(30)))
            await world.settled()
            assert Counter(event.data["deal"] for event in seen) == {f"d{n}": 2 for n in range(30)}

    asyncio.run(main())


@pytest.mark.parametrize("wants_tx", [False, True], ids=["without_tx", "with_tx"])
def test_a_handler_that_always_fails_is_called_max_attempts_times_and_then_dead_lettered(
    world: Any, wants_tx: bool
) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []
        options: Any = {"name": "bad", "max_attempts": 3, "first_delay": FAST}
        if wants_tx:

            @subs.on("deal.won", **options)
            async def bad(event: Event[Any], tx: Any) -> None:
                calls.append(event)
                raise ValueError("broken")
        else:

            @subs.on("deal.won", **options)
            async def bad_too(event: Event[Any]) -> None:
                calls.append(event)
                raise ValueError("broken")

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            (letter,) = await world.dead()
            assert len(calls) == 3
            assert (letter.reason, letter.attempts) == ("attempts_exhausted", 3)
            assert (letter.consumer, letter.tenant, letter.type) == ("svc__bad", "acme", "deal.won")
            assert letter.error == "ValueError: broken"

    asyncio.run(main())


def test_a_handler_that_recovers_is_called_again_and_leaves_no_letter(world: Any) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="shaky", first_delay=FAST)
        async def shaky(event: Event[Any]) -> None:
            calls.append(event.id)
            if len(calls) < 4:
                raise ConnectionError

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            assert len(calls) == 4
            assert len(set(calls)) == 1
            assert await world.dead() == []

    asyncio.run(main())


def test_a_retry_is_no_attempt_and_comes_after_its_delay(world: Any) -> None:
    async def main() -> None:
        subs, times = Subscriptions(), []

        @subs.on("deal.won", name="later", max_attempts=1)
        async def later(event: Event[Any]) -> None:
            times.append(world.now())
            if len(times) < 4:
                raise Retry(after=0.2)

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            assert len(times) == 4
            assert all(b - a >= 0.2 for a, b in pairwise(times))
            assert await world.dead() == []

    asyncio.run(main())


def test_a_permanent_failure_is_dead_lettered_at_once_and_a_skip_is_not(world: Any) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="choosy")
        async def choosy(event: Event[Any]) -> None:
            calls.append(event)
            if event.data["deal"] == "skipped":
                raise Skip
            raise Permanent("no such deal")

        async with world.open():
            world.include(subs)
            await world.publish("skipped", "gone")
            await world.settled()
            (letter,) = await world.dead()
            assert len(calls) == 2
            assert (letter.reason, letter.error) == ("permanent", "no such deal")

    asyncio.run(main())


def test_a_handler_over_its_time_limit_is_cancelled_and_that_counts_as_an_attempt(
    world: Any,
) -> None:
    async def main() -> None:
        subs, ended = Subscriptions(), []

        @subs.on("deal.won", name="slow", timeout=0.2, max_attempts=2, first_delay=FAST)
        async def slow(event: Event[Any]) -> None:
            try:
                await world.sleep(3600)
            finally:
                ended.append(event)

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            (letter,) = await world.dead()
            assert len(ended) == 2
            assert letter.error.startswith("HandlerTimeout")

    asyncio.run(main())


def test_a_handler_that_takes_longer_than_ack_wait_is_not_called_twice(world: Any) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="long", ack_wait=0.6)
        async def long(event: Event[Any]) -> None:
            calls.append(event)
            await world.sleep(2.0)

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            assert len(calls) == 1

    asyncio.run(main())


def test_events_that_wait_for_a_slow_handler_are_not_delivered_twice(world: Any) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="narrow", ack_wait=0.6, concurrency=1)
        async def narrow(event: Event[Any]) -> None:
            calls.append(event.data["deal"])
            await world.sleep(0.5)

        async with world.open():
            world.include(subs)
            await world.publish("d1", "d2", "d3", "d4")
            await world.settled()
            assert sorted(calls) == ["d1", "d2", "d3", "d4"]

    asyncio.run(main())


def test_a_message_that_is_no_event_is_dead_lettered_with_its_reason_and_stops_nothing(
    world: Any,
) -> None:
    bad = {
        b"\xff": "invalid_utf8",
        b"{": "invalid_json",
        b"{}": "missing_attribute",
        b'{"specversion":"1.0","id":"1","source":"/x","type":"deal.won","tenantid":"evil"'
        b',"time":"2026-01-01T00:00:00Z","data":{}}': "tenant_mismatch",
    }

    async def main() -> None:
        subs = Subscriptions()
        seen = _collecting(subs)
        async with world.open():
            world.include(subs)
            subject = f"{world.config.prefix}.evt.acme.deal.won.3"
            headers = {"Content-Type": "application/cloudevents+json"}
            for body in bad:
                await world.bus.transport.publish(Message(subject, headers, body))
            await world.publish("good")
            await world.settled()
            letters = await world.dead()
            assert sorted(letter.reason for letter in letters) == sorted(bad.values())
            assert {letter.body for letter in letters} == set(bad)
            assert [event.data["deal"] for event in seen] == ["good"]

    asyncio.run(main())


def test_with_tx_an_event_that_comes_twice_has_one_effect(world: Any) -> None:
    async def main() -> None:
        subs, effects = Subscriptions(), []

        @subs.on("deal.won", name="once")
        async def once(event: Event[Any], tx: Any) -> None:
            tx.on_commit(lambda: effects.append(event.id))

        async with world.open():
            world.include(subs)
            event = Event[Any](type="deal.won", source="/x", tenant="acme", data={})
            await world.bus.publish(event)
            await world.settled()
            # Beyond the stream's window: as another message of the same event.
            again = Message(world.subject(), {"Nats-Msg-Id": "other"}, world.body(event))
            await world.bus.transport.publish(again)
            await world.settled()
            assert effects == [event.id]

    asyncio.run(main())


def test_an_effect_of_a_handler_that_raises_is_rolled_back_with_the_note(world: Any) -> None:
    async def main() -> None:
        subs, effects = Subscriptions(), []

        @subs.on("deal.won", name="second", first_delay=FAST)
        async def second(event: Event[Any], tx: Any) -> None:
            effects.append("called")
            tx.on_commit(lambda: effects.append("done"))
            if len(effects) == 1:
                raise ValueError

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            assert effects == ["called", "called", "done"]

    asyncio.run(main())


def test_events_of_a_key_are_handled_in_their_order_though_some_fail(world: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        handled: dict[str, list[int]] = defaultdict(list)
        failed: set[int] = set()

        @subs.on("deal.won", name="ordered", ordering="key", first_delay=FAST)
        async def ordered(event: Event[Any]) -> None:
            number = event.data["number"]
            await asyncio.sleep(0)
            if number % 7 == 3 and number not in failed:
                failed.add(number)
                raise ValueError
            handled[event.subject or ""].append(number)

        async with world.open():
            world.include(subs)
            for number in range(60):
                data, subject = {"number": number}, f"k{number % 5}"
                await world.bus.publish(
                    Event(type="deal.won", source="/x", tenant="acme", data=data, subject=subject)
                )
            await world.settled()
            assert sum(map(len, handled.values())) == 60
            assert failed
            assert all(numbers == sorted(numbers) for numbers in handled.values())

    asyncio.run(main())


def test_an_ordered_event_that_always_fails_holds_its_partition_until_it_is_dead_lettered(
    world: Any,
) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="ordered", ordering="key", max_attempts=3, first_delay=FAST)
        async def ordered(event: Event[Any]) -> None:
            calls.append(event.data["deal"])
            if event.data["deal"] == "bad":
                raise ValueError

        async with world.open():
            world.include(subs)
            for deal in ("bad", "next"):
                data = {"deal": deal}
                await world.bus.publish(
                    Event(type="deal.won", source="/x", tenant="acme", data=data, subject="one")
                )
            await world.settled()
            assert calls == ["bad", "bad", "bad", "next"]
            assert len(await world.dead()) == 1

    asyncio.run(main())


def test_a_replayed_letter_reaches_its_consumer_only_and_has_all_attempts_again(
    world: Any,
) -> None:
    async def main() -> None:
        subs, calls, healed = Subscriptions(), [], False
        other = _collecting(subs)

        @subs.on("deal.won", name="bad", max_attempts=2, first_delay=FAST)
        async def bad(event: Event[Any], tx: Any) -> None:
            calls.append(event)
            if not healed:
                raise ValueError

        async with world.open():
            world.include(subs)
            await world.publish("d1")
            await world.settled()
            (letter,) = await world.dead()
            await world.letters.replay(letter.id)
            await world.settled()
            assert len(calls) == 4
            (letter,) = await world.dead()
            assert letter.attempts == 2
            healed = True
            await world.letters.replay(letter.id)
            await world.settled()
            assert len(calls) == 5
            assert {event.id for event in calls} == {other[0].id}
            assert len(other) == 1
            assert await world.dead() == []

    asyncio.run(main())


def test_each_process_gets_a_broadcast_and_its_failures_leave_no_letter(world: Any) -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="cache", broadcast=True, max_attempts=2, first_delay=FAST)
        async def cache(event: Event[Any]) -> None:
            calls.append(event.data["deal"])
            if event.data["deal"] == "bad":
                raise ValueError

        async with world.open():
            await world.publish("before")
            for _ in range(2):
                await world.include(subs).ready()
            await world.publish("good", "bad")
            await world.settled()
            assert Counter(calls) == {"good": 2, "bad": 4}
            assert await world.dead() == []

    asyncio.run(main())


def test_a_graceful_stop_waits_for_handlers_and_gives_the_rest_back(world: Any) -> None:
    async def main() -> None:
        subs, ended = Subscriptions(), []

        @subs.on("deal.won", name="slow", concurrency=1)
        async def slow(event: Event[Any]) -> None:
            await world.sleep(0.3)
            ended.append(event.data["deal"])

        async with world.open():
            group = world.include(subs)
            await world.publish("d1", "d2", "d3")
            await world.until(lambda: group.health()[0].in_flight)
            await world.passing(group.stop(5.0))
            assert len(ended) == 1
            world.include(subs)
            await world.settled()
            assert sorted(ended) == ["d1", "d2", "d3"]

    asyncio.run(main())


@pytest.mark.parametrize("wants_tx", [False, True], ids=["without_tx", "with_tx"])
def test_a_handler_cancelled_by_a_stop_is_no_attempt_that_failed(
    world: Any, wants_tx: bool
) -> None:
    async def main() -> None:
        subs, calls, stopping = Subscriptions(), [], True

        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            if stopping:
                await world.sleep(3600)

        if wants_tx:

            @subs.on("deal.won", name="slow", max_attempts=1)
            async def slow(event: Event[Any], tx: Any) -> None:
                await handle(event)
        else:
            subs.on("deal.won", name="slow", max_attempts=1)(handle)

        async with world.open():
            for count in range(1, 4):
                group = world.include(subs)
                if count == 1:
                    await world.publish("d1")
                await world.until(lambda: len(calls) == count)  # noqa: B023 - awaited here
                await world.passing(group.stop(0.05))
            stopping = False
            world.include(subs)
            await world.settled()
            assert len(calls) == 4
            assert await world.dead() == []

    asyncio.run(main())


def test_what_a_handler_publishes_is_of_the_tenant_and_caused_by_the_event(world: Any) -> None:
    async def main() -> None:
        subs, followed = Subscriptions(), []

        @subs.on("deal.won", name="first")
        async def first(event: Event[Any]) -> None:
            await world.bus.publish(Paid(event.data["deal"]))

        @subs.on(Paid, name="second")
        async def second(event: Event[Any]) -> None:
            followed.append(event)

        async with world.open():
            world.include(subs)
            event = Event(
                type="deal.won", source="/x", tenant="acme", data={"deal": "d"}, actor="user-7"
            )
            await world.bus.publish(event)
            await world.until(lambda: followed)
            (paid,) = followed
            assert (paid.tenant, paid.actor) == ("acme", "user-7")
            assert (paid.causation_id, paid.correlation_id) == (event.id, event.id)
            assert current_context().tenant is None

    asyncio.run(main())


@event_type("deal.paid")
@dataclass(frozen=True)
class Paid:
    deal: str


def test_what_a_handler_leaves_in_its_context_is_seen_by_no_other(world: Any) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    async def main() -> None:
        subs, seen = Subscriptions(), []

        @subs.on("deal.won", name="messy", concurrency=1)
        async def messy(event: Event[Any]) -> None:
            seen.append(variable.get())
            variable.set(event.tenant)

        async with world.open():
            # Both wait when the handler begins, so that the end of one begins the other.
            await world.publish("a", tenant="a")
            await world.publish("b", tenant="b")
            variable.set("of whoever includes")
            world.include(subs)
            await world.settled()
            assert seen == ["clean", "clean"]

    asyncio.run(main())


def test_a_tenant_with_many_events_leaves_handlers_for_another(world: Any) -> None:
    async def main() -> None:
        subs, order, gate = Subscriptions(), [], asyncio.Event()

        @subs.on("deal.won", name="fair", concurrency=4)
        async def fair(event: Event[Any]) -> None:
            order.append(event.tenant)
            await gate.wait()

        async with world.open():
            await world.publish(*(f"d{n}" for n in range(12)), tenant="flood")
            await world.publish("d", tenant="small")
            world.include(subs)
            await world.until(lambda: "small" in order)
            assert len(order) == 4
            gate.set()
            await world.settled()
            assert Counter(order) == {"flood": 12, "small": 1}

    asyncio.run(main())


def test_a_handler_renamed_goes_on_where_it_was(world: Any) -> None:
    async def main() -> None:
        old, new = Subscriptions(), Subscriptions()
        before = _collecting(old, name="old_name")
        after = _collecting(new, name="new_name", was="old_name")
        async with world.open():
            group = world.include(old)
            await world.publish("d1")
            await world.settled()
            await group.stop(1.0)
            await world.publish("d2")
            world.include(new)
            await world.until(lambda: after)
            await world.settled()
            assert [event.data["deal"] for event in before] == ["d1"]
            assert [event.data["deal"] for event in after] == ["d2"]

    asyncio.run(main())
