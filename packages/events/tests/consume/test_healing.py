"""Consumers heal: nothing that happens to a server or a consumer loses an event."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import Any

import pytest

from mtenant_devstack import Server
from mtenant_errors import GatewayTimeout, ServiceUnavailable
from mtenant_events.bus import EventBus
from mtenant_events.consumer import pull
from mtenant_events.errors import TopologyConflict
from mtenant_events.event import Event
from mtenant_events.subscriptions import Subscriptions


def _counting(subs: Subscriptions, **options: Any) -> Counter[Any]:
    seen: Counter[Any] = Counter()
    options.setdefault("name", "log")

    @subs.on("deal.won", **options)
    async def log(event: Event[Any]) -> None:
        seen[event.data["deal"]] += 1

    return seen


async def _publish(bus: EventBus, place: Any, numbers: range) -> None:
    """Publish events one by one, each until it is acknowledged."""
    for number in numbers:
        event = place.event(number, key=f"k{number % 7}")
        while True:
            try:
                await bus.publish(event)
                break
            except (GatewayTimeout, ServiceUnavailable):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("ordering", [None, "key"], ids=["unordered", "ordered"])
def test_a_consumer_deleted_while_running_is_made_again_and_no_event_is_left_out(
    place: Any, ordering: Any
) -> None:
    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs, ordering=ordering)
        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            publishing = asyncio.create_task(_publish(bus, place, range(300)))
            for reached in (60, 140, 220):
                await place.until(lambda: len(seen) >= reached)  # noqa: B023 - awaited here
                for info in await place.client.jsm().consumers_info(place.config.stream):
                    await place.client.jsm().delete_consumer(place.config.stream, info.name)
            await publishing
            await place.until(lambda: len(seen) == 300)

    asyncio.run(main())


def test_a_consumer_that_is_deleted_begins_where_it_was_and_not_with_the_oldest_event(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "HEARTBEAT", 0.1)
    monkeypatch.setattr(pull, "LOOK", 0.0)

    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs)
        async with place.open() as bus:
            group = bus.include(subs, service="svc")
            await group.ready()
            await _publish(bus, place, range(50))
            await place.settled()
            (source,) = group.consumers[0]._sources
            await place.until(lambda: source._durable._floor == 50)
            await place.client.jsm().delete_consumer(place.config.stream, "svc__log")
            await _publish(bus, place, range(50, 60))
            await place.until(lambda: len(seen) == 60)
            assert set(seen.values()) == {1}

    asyncio.run(main())


def test_a_stream_that_is_made_again_is_read_from_its_beginning(place: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs)
        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            await _publish(bus, place, range(5))
            await place.settled()
            await place.client.jsm().delete_stream(place.config.stream)
            await bus.topology.ensure()
            await _publish(bus, place, range(5, 10))
            await place.until(lambda: len(seen) == 10)

    asyncio.run(main())


def test_a_killed_server_that_comes_back_costs_no_event(own_nats: Server, place_on: Any) -> None:
    place = place_on(own_nats.url)

    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs, ack_wait=1.0)  # an acknowledgement may be lost with the server
        ordered = _counting(subs, name="ordered", ordering="key", ack_wait=1.0)
        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            publishing = asyncio.create_task(_publish(bus, place, range(300)))
            for reached in (60, 180):
                await place.until(lambda: len(seen) >= reached)  # noqa: B023 - awaited here
                await asyncio.to_thread(own_nats.kill)
                await asyncio.to_thread(own_nats.start)
            await publishing
            await place.until(lambda: len(seen) == len(ordered) == 300)
            assert all(consumer.healthy for consumer in bus.health().consumers)

    asyncio.run(main())


def test_an_idle_consumer_hears_heartbeats_and_a_silent_server_is_noticed(
    own_nats: Server, place_on: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(pull, "HEARTBEAT", 0.2)
    place = place_on(own_nats.url)

    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs)
        async with place.open() as bus:
            group = bus.include(subs, service="svc")
            await group.ready()
            (source,) = group.consumers[0]._sources
            for _ in range(3):  # an idle heartbeat comes, and another
                heard = source._heard
                await place.until(lambda: source._heard > heard)  # noqa: B023 - awaited here
            assert group.health()[0].healthy
            pid = own_nats.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                await place.until(lambda: "no heartbeat" in caplog.text)
                assert not group.health()[0].healthy
            finally:
                os.kill(pid, signal.SIGCONT)
            await bus.publish(place.event("d"))
            await place.until(lambda: seen["d"])
            await group.ready()

    asyncio.run(main())


def test_a_request_that_expires_is_made_again(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "HEARTBEAT", 0.1)
    monkeypatch.setattr(pull, "EXPIRES", 0.25)

    async def main() -> None:
        subs = Subscriptions()
        seen = _counting(subs, concurrency=2)
        asked = 0
        async with place.open() as bus:
            group = bus.include(subs, service="svc")
            await group.ready()
            (source,) = group.consumers[0]._sources
            for number in range(3):
                await bus.publish(place.event(number))
                before = source._round, asked
                expired = asyncio.Event()
                original = source._on_status

                def on_status(subject: str, block: bytes) -> None:
                    original(subject, block)  # noqa: B023 - replaced in each round
                    if block.startswith(b"NATS/1.0 408"):
                        expired.set()  # noqa: B023 - the same

                source._on_status = on_status
                async with asyncio.timeout(10):
                    await expired.wait()
                source._on_status = original
                assert source._round == before[0]  # an expiry is no loss
            await bus.publish(place.event("last"))
            await place.until(lambda: seen["last"])
            assert 0 < source._asked <= 8

    asyncio.run(main())


def test_settings_that_have_changed_are_applied_to_the_consumer_that_is_there(place: Any) -> None:
    async def main() -> None:
        async with place.open() as bus:
            for ack_wait in (10.0, 25.0):
                subs = Subscriptions()
                _counting(subs, ack_wait=ack_wait)
                group = bus.include(subs, service="svc")
                await group.ready()
                info = await place.client.jsm().consumer_info(place.config.stream, "svc__log")
                assert info.config.ack_wait == ack_wait
                assert info.config.max_deliver == -1
                assert not info.config.backoff
                await group.stop(1.0)

    asyncio.run(main())


def test_a_consumer_of_another_kind_under_the_name_is_told_to_who_waits(place: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        _counting(subs)
        async with place.open() as bus:
            await place.client.jsm().add_consumer(
                place.config.stream,
                name="svc__log",
                durable_name="svc__log",
                deliver_subject="elsewhere",
                ack_policy="none",
            )
            group = bus.include(subs, service="svc")
            async with asyncio.timeout(10):
                with pytest.raises(TopologyConflict):
                    await group.ready()
            assert not group.health()[0].healthy

    asyncio.run(main())


def test_a_bus_that_was_idle_closes_at_once(place: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        _counting(subs)
        _counting(subs, name="ordered", ordering="key")
        async with asyncio.timeout(5), place.open() as bus:
            await bus.include(subs, service="svc").ready()

    asyncio.run(main())


def test_a_bus_closes_at_once_whatever_its_consumers_are_doing(place: Any) -> None:
    async def main() -> None:
        for turns in range(0, 60, 2):
            subs = Subscriptions()
            _counting(subs)
            _counting(subs, name="ordered", ordering="key")
            async with asyncio.timeout(5), place.open() as bus:
                bus.include(subs, service="svc")
                for _ in range(turns):
                    await asyncio.sleep(0)

    asyncio.run(main())


def test_a_broadcast_leaves_no_consumer_behind(place: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        _counting(subs, broadcast=True)
        async with place.open() as bus:
            group = bus.include(subs, service="svc")
            await group.ready()
            assert len(await place.client.jsm().consumers_info(place.config.stream)) == 1
            await group.stop(1.0)
            assert await place.client.jsm().consumers_info(place.config.stream) == []

    asyncio.run(main())


def test_the_consumer_of_an_old_name_goes_when_nobody_uses_it(place: Any) -> None:
    async def main() -> None:
        old, new = Subscriptions(), Subscriptions()
        _counting(old, name="old")
        seen = _counting(new, name="new", was="old")

        async def names() -> set[str]:
            infos = await place.client.jsm().consumers_info(place.config.stream)
            return {info.name for info in infos}

        async with place.open() as bus:
            before = bus.include(old, service="svc")
            await before.ready()
            await bus.publish(place.event(1))
            await place.settled()
            first = bus.include(new, service="svc")
            await first.ready()
            assert await names() == {"svc__old", "svc__new"}
            await first.stop(1.0)
            await before.stop(1.0)
            second = bus.include(new, service="svc")
            await second.ready()
            assert await names() == {"svc__new"}
            await bus.publish(place.event(2))
            await place.until(lambda: seen[2])
            assert seen == {2: 1}

    asyncio.run(main())


def test_what_is_handled_while_a_bus_closes_is_acknowledged_and_the_rest_is_given_back(
    place: Any,
) -> None:
    async def main() -> None:
        subs = Subscriptions()
        begun, go = asyncio.Event(), asyncio.Event()

        @subs.on("deal.won", name="log", concurrency=2)
        async def log(event: Event[Any]) -> None:
            begun.set()
            await go.wait()

        async with place.open():
            async with EventBus.connect(place.config) as bus:
                bus.include(subs, service="svc")
                await bus.publish_many([place.event(number) for number in range(6)])
                await begun.wait()
                asyncio.get_running_loop().call_later(0.05, go.set)
            info = await place.client.jsm().consumer_info(place.config.stream, "svc__log")
            assert info.ack_floor.stream_seq == 2
            seen = Subscriptions()
            rest = _counting(seen)
            place.bus.include(seen, service="svc")
            await place.until(lambda: len(rest) == 4)  # at once, not after `ack_wait`

    asyncio.run(main())
