"""Publishing on a real server: acknowledgements, retries, windows, and a server that dies under it."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import nats
import pytest
from nats.aio.msg import Msg

from mtenant_config import ByteSize
from mtenant_errors import AppError
from mtenant_events import (
    BusClosed,
    Event,
    EventBus,
    EventsConfig,
    EventsUnavailable,
    EventTooLarge,
    Message,
    PublishRefused,
    PublishResult,
    PublishUnknown,
    StreamFull,
    StreamUnavailable,
    TenantMismatch,
    TenantRequired,
    event_context,
)
from mtenant_events.codec import encode
from mtenant_events.subjects import partition_of

Make = Callable[..., Event[Any]]
Eventually = Callable[[Callable[[], object]], Any]
QUICK = timedelta(seconds=0.3)


@asynccontextmanager
async def opened(config: EventsConfig) -> AsyncIterator[EventBus]:
    async with EventBus.connect(config) as bus:
        await bus.topology.ensure()
        yield bus


async def stored(config: EventsConfig, most: int = 10_000) -> list[Any]:
    """Return the first messages of the stream, with a client that is not ours."""
    client = await nats.connect(config.servers[0])
    try:
        stream = client.jetstream()
        state = (await stream.stream_info(config.stream)).state
        return [
            await stream.get_msg(config.stream, number)
            for number in range(1, min(state.last_seq, most) + 1)
        ]
    finally:
        await client.close()


def ids(messages: Sequence[Any]) -> list[str]:
    return [json.loads(message.data)["id"] for message in messages]


def test_an_event_is_stored_when_publish_returns(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            event = make_event()
            result = await bus.publish(event)

            assert result == PublishResult(config.stream, 1, duplicate=False, attempts=1)
            assert ids(await stored(config)) == [event.id]

    asyncio.run(program())


def test_an_event_twice_is_stored_once(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            event = make_event()
            first, second = await bus.publish(event), await bus.publish(event)
            (third,) = await bus.publish_many([event])

            assert isinstance(third, PublishResult)
            assert (first.duplicate, second.duplicate, third.duplicate) == (False, True, True)
            assert first.sequence == second.sequence == third.sequence

    asyncio.run(program())


def test_one_id_in_two_tenants_is_two_events(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            for tenant in ("acme", "globex"):
                assert not (await bus.publish(make_event(id="e1", tenant=tenant))).duplicate

    asyncio.run(program())


def test_a_payload_is_published_in_its_context(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            payload = make_event().data
            with pytest.raises(TenantRequired):
                await bus.publish(payload)
            with event_context(tenant="globex"), pytest.raises(TenantMismatch):
                await bus.publish(make_event())
            with event_context(tenant="globex"):
                await bus.publish(payload)
            (message,) = await stored(config)

            assert json.loads(message.data)["tenantid"] == "globex"

    asyncio.run(program())


@pytest.mark.parametrize("given", [None, "text", {"a": 1}, object()])
def test_what_is_no_event_is_refused(config: EventsConfig, given: object) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            with event_context(tenant="acme"), pytest.raises(TypeError):
                await bus.publish(given)
            with event_context(tenant="acme"), pytest.raises(TypeError):
                await bus.publish_many([given])

    asyncio.run(program())


def test_what_is_too_large_is_refused_before_the_network(
    config: EventsConfig, make_event: Make
) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            sent = bus.transport._client.stats["out_msgs"]
            large = make_event(data="x" * config.max_payload)
            with pytest.raises(EventTooLarge):
                await bus.publish(large)
            with pytest.raises(EventTooLarge):
                await bus.publish_many([make_event(), large])

            assert bus.transport._client.stats["out_msgs"] == sent

    asyncio.run(program())


def test_a_message_that_the_server_would_cut_us_off_for_is_not_sent(
    config_on: Callable[..., EventsConfig], nats_url: str, make_event: Make
) -> None:
    # The server counts headers too, and the client does not: it would be "Maximum Payload Violation".
    config = config_on(nats_url, max_payload=ByteSize(8 << 20))

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            long = {"a": "x" * 2000}
            room = bus.transport._client.max_payload - 1000
            with pytest.raises(EventTooLarge):
                await bus.transport.publish(Message(f"{config.prefix}.evt.x", long, b"x" * room))
            await bus.publish(make_event())

    asyncio.run(program())


def test_many_are_stored_in_their_order(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            events = [make_event() for _ in range(300)]
            results = await bus.publish_many(iter(events), window=7)

            assert all(isinstance(result, PublishResult) for result in results)
            assert [getattr(result, "sequence", None) for result in results] == [*range(1, 301)]
            assert ids(await stored(config)) == [event.id for event in events]

    asyncio.run(program())


def test_none_is_none_and_a_window_of_none_is_refused(
    config: EventsConfig, make_event: Make
) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            assert await bus.publish_many([]) == []
            with pytest.raises(ValueError, match="window"):
                await bus.publish_many([make_event()], window=0)

    asyncio.run(program())


def test_the_window_holds(config: EventsConfig, make_event: Make) -> None:
    most = 0

    async def program() -> None:
        nonlocal most
        async with opened(config) as bus:
            publish = bus.transport._client.publish

            async def counted(*args: Any, **others: Any) -> None:
                nonlocal most
                most = max(most, bus.transport.under_way)
                await publish(*args, **others)

            bus.transport._client.publish = counted  # type: ignore[method-assign]  # it counts
            await bus.publish_many([make_event() for _ in range(200)], window=5)

    asyncio.run(program())
    assert most == 5


def test_a_batch_of_large_events_is_bounded_in_bytes(
    config_on: Callable[..., EventsConfig], nats_url: str, make_event: Make
) -> None:
    config = config_on(nats_url)

    async def program() -> None:
        async with opened(config) as bus:
            events = [make_event(data="x" * 900_000) for _ in range(40)]
            results = await bus.publish_many(events)

            assert all(isinstance(result, PublishResult) for result in results)

    asyncio.run(program())


def test_an_error_of_the_stream_ends_the_waiting(config: EventsConfig, make_event: Make) -> None:
    """V1: nats-py's publish_async waits for ever where the stream answers with an error."""

    async def program() -> None:
        async with opened(config) as bus:
            good, bad = make_event(), make_event()
            wrong = encode(bad, replace(config, stream="ANOTHER"))
            results = await bus.transport.publish_many(
                [encode(good, config), wrong, encode(make_event(), config)]
            )

            assert [type(result) for result in results] == [
                PublishResult,
                PublishRefused,
                PublishResult,
            ]
            with pytest.raises(PublishRefused) as caught:
                await bus.transport.publish(wrong)
            assert "10060" in str(caught.value.internal)
            assert bus.transport.under_way == 0

    asyncio.run(program())


def test_what_failed_without_a_connection_is_not_stored_later(
    servers: Callable[..., Any],
    config_on: Callable[..., EventsConfig],
    make_event: Make,
    eventually: Eventually,
) -> None:
    """V2: nats-py's publish raises a timeout, and sends the message when it is connected again."""
    server = servers()
    config = config_on(server.url, publish_timeout=QUICK)

    async def program() -> None:
        async with opened(config) as bus:
            server.kill()
            await eventually(lambda: not bus.health().connected)
            with pytest.raises(EventsUnavailable):
                await bus.publish(make_event())
            results = await bus.publish_many([make_event() for _ in range(3)])
            assert [type(result) for result in results] == [EventsUnavailable] * 3
            server.start()
            await eventually(lambda: bus.health().connected)
            last = make_event()
            await bus.publish(last)

            assert ids(await stored(config)) == [last.id]

    asyncio.run(program())


def test_the_headers_of_a_message_stay_as_they_are(config: EventsConfig, make_event: Make) -> None:
    """V4: nats-py writes into the headers that it is given."""

    async def program() -> None:
        async with opened(config) as bus:
            message = encode(make_event(), config)
            before = dict(message.headers)
            await bus.transport.publish(message)
            await bus.transport.publish_many([message])

            assert message.headers == before

    asyncio.run(program())


def test_no_stream_is_an_error_after_the_retries(config: EventsConfig, make_event: Make) -> None:
    async def program() -> int:
        async with EventBus.connect(config) as bus:
            sent = bus.transport._client.stats["out_msgs"]
            with pytest.raises(StreamUnavailable) as caught:
                await bus.publish(make_event())
            assert caught.value.retryable
            (result,) = await bus.publish_many([make_event()])
            assert isinstance(result, StreamUnavailable)
            return int(bus.transport._client.stats["out_msgs"]) - sent

    # Four times one by one and once in the batch; a heartbeat may be among them.
    assert asyncio.run(program()) in {5, 6, 7}


def test_a_stream_that_comes_in_time_has_the_event_once(
    config: EventsConfig, make_event: Make
) -> None:
    async def program() -> None:
        async with EventBus.connect(config) as bus:
            publishing = asyncio.create_task(bus.publish(make_event()))
            await asyncio.sleep(0)
            await bus.topology.ensure()
            result = await publishing

            assert result.attempts in {1, 2, 3, 4}
            assert len(await stored(config)) == 1

    asyncio.run(program())


def test_a_full_stream_says_so_and_keeps_what_it_has(
    config_on: Callable[..., EventsConfig], nats_url: str, make_event: Make
) -> None:
    config = config_on(nats_url, max_bytes=ByteSize(20_000))

    async def program() -> None:
        async with opened(config) as bus:
            first = make_event()
            await bus.publish(first)
            results = await bus.publish_many([make_event(data="x" * 3000) for _ in range(10)])

            assert isinstance(results[-1], StreamFull)
            assert ids(await stored(config))[0] == first.id
            with pytest.raises(StreamFull):
                await bus.publish(make_event(data="x" * 3000))

    asyncio.run(program())


def test_an_answer_of_somebody_else_is_no_acknowledgement(
    config: EventsConfig, make_event: Make
) -> None:
    config = replace(config, publish_timeout=QUICK)

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            for answer in (b"hello", b"[]", b"null", b'{"seq":1}', b"\xff", b""):

                async def answers(message: Msg, answer: bytes = answer) -> None:
                    await message.respond(answer)

                meddler = await bus._connection.client.subscribe(
                    f"{config.prefix}.evt.>", cb=answers
                )
                (result,) = await bus.publish_many([make_event()])
                assert isinstance(result, PublishUnknown)
                await meddler.unsubscribe()

    asyncio.run(program())


def test_a_subject_that_is_none_is_refused_and_others_are_not(
    config: EventsConfig, make_event: Make
) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            bad = [
                Message(subject, {}, b"") for subject in ("", "a b", "a\r\nPUB x 0\r\n", "a..b")
            ] + [Message("a", {"a:b": "c"}, b""), Message("a", {"é": "c"}, b"")]
            good = encode(make_event(), config)
            for message in bad:
                first, second = await bus.transport.publish_many([message, good])
                assert isinstance(first, AppError), message
                assert isinstance(second, PublishResult)

    asyncio.run(program())


def test_a_cancelled_publish_leaves_nothing_behind(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            finished = False
            for count in itertools.count():
                events = [make_event() for _ in range(500)]
                for call in (bus.publish_many(events, window=50), bus.publish(make_event())):
                    task = asyncio.create_task(call)
                    for _ in range(count):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait({task})
                    finished = not task.cancelled()
                assert bus.transport.under_way == 0
                if finished:
                    break
            await bus.publish(make_event())

    asyncio.run(program())


def test_a_silent_server_ends_in_time(
    servers: Callable[..., Any], config_on: Callable[..., EventsConfig], make_event: Make
) -> None:
    server = servers()
    config = config_on(server.url, publish_timeout=QUICK)

    async def program() -> None:
        async with opened(config) as bus:
            server.send(signal.SIGSTOP)
            try:
                async with asyncio.timeout(15):
                    with pytest.raises((PublishUnknown, EventsUnavailable)):
                        await bus.publish(make_event())
                    results = await bus.publish_many(
                        [make_event(data="x" * 500_000) for _ in range(40)]
                    )
                assert {type(result) for result in results} <= {PublishUnknown, EventsUnavailable}
            finally:
                server.send(signal.SIGCONT)
            result = await bus.publish(make_event())
            assert isinstance(result, PublishResult)

    asyncio.run(program())


def test_a_server_that_is_killed_while_publishing_loses_nothing_that_was_acknowledged(
    servers: Callable[..., Any], config_on: Callable[..., EventsConfig], make_event: Make
) -> None:
    server = servers()
    config = config_on(server.url, publish_timeout=timedelta(seconds=10))
    stopping = asyncio.Event
    acknowledged: list[str] = []

    async def program() -> None:
        stop = stopping()
        async with opened(config) as bus:

            async def publisher() -> None:
                while not stop.is_set():
                    event = make_event()
                    await bus.publish(event)
                    acknowledged.append(event.id)

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(publisher())
                for _ in range(3):
                    had = len(acknowledged)
                    while len(acknowledged) < had + 100:
                        await asyncio.sleep(0.005)
                    server.kill()
                    await asyncio.to_thread(server.start)
                had = len(acknowledged)
                while len(acknowledged) < had + 100:
                    await asyncio.sleep(0.005)
                stop.set()
            found = ids(await stored(config))

            assert len(found) == len(set(found))
            assert set(acknowledged) <= set(found)
            assert len(set(found) - set(acknowledged)) == 0  # all were tried until it was known

    asyncio.run(program())


def test_a_batch_that_loses_its_server_ends_and_sends_nothing_more(
    servers: Callable[..., Any], config_on: Callable[..., EventsConfig], make_event: Make
) -> None:
    server = servers()
    config = config_on(server.url)

    async def program() -> None:
        async with opened(config) as bus:
            events = [make_event() for _ in range(20_000)]
            publishing = asyncio.create_task(bus.publish_many(events, window=64))
            while bus.transport.under_way == 0:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            server.kill()
            async with asyncio.timeout(10):
                results = await publishing
            await asyncio.to_thread(server.start)
            kinds = [type(result) for result in results]
            sent = kinds.count(PublishResult)

            assert 0 < sent < len(events)
            assert kinds[:sent] == [PublishResult] * sent
            # Those under way may be there; those behind them were never sent.
            unknown = kinds.count(PublishUnknown)
            assert unknown <= 64
            assert set(kinds[sent + unknown :]) == {EventsUnavailable}
            again = await bus.publish_many(events)
            assert all(isinstance(result, PublishResult) for result in again)
            assert ids(await stored(config, 500)) == [event.id for event in events[:500]]

    asyncio.run(program())


def test_a_closed_bus_says_so_at_once(config: EventsConfig, make_event: Make) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            pass
        async with asyncio.timeout(1):
            with pytest.raises(BusClosed) as caught:
                await bus.publish(make_event())
            assert not caught.value.retryable
            results = await bus.publish_many([make_event()])
            assert [type(result) for result in results] == [BusClosed]

    asyncio.run(program())


@pytest.mark.parametrize("key", ["d7", 7, UUID(int=7)])
def test_a_key_may_be_a_number_or_a_uuid(config: EventsConfig, make_event: Make, key: Any) -> None:
    async def program() -> None:
        async with opened(config) as bus:
            await bus.publish(make_event(), key=key)
            (message,) = await stored(config)

            assert json.loads(message.data)["partitionkey"] == str(key)
            assert message.subject.endswith(f".{partition_of(str(key))}")

    asyncio.run(program())
