"""How handlers end, and what is told of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_events.bus import EventBus
from mtenant_events.consumer.outcome import Permanent, Retry
from mtenant_events.event import Event
from mtenant_events.memory import MemoryBus
from mtenant_events.subscriptions import Subscriptions


def _event() -> Event[Any]:
    return Event(type="deal.won", source="/x", tenant="acme", data={})


def test_the_server_is_told_why_a_message_was_terminated_and_the_letter_is_there_before(
    place: Any,
) -> None:
    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="h")
        async def handle(event: Event[Any]) -> None:
            raise Permanent("gone")

        async with place.open() as bus:
            terminated = await place.client.subscribe(
                f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{place.config.stream}.>"
            )
            bus.include(subs, service="svc")
            await bus.publish(place.event())
            advisory = json.loads((await terminated.next_msg(timeout=20)).data)
            (letter,) = await place.dead()
            assert (advisory["reason"], advisory["stream_seq"]) == ("permanent", letter.sequence)

    asyncio.run(main())


def test_a_cancellation_of_something_that_a_handler_awaits_is_a_failure_of_the_handler() -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="h", max_attempts=2)
        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            inner = asyncio.ensure_future(asyncio.Event().wait())
            inner.cancel()
            await inner

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            await bus.publish(_event())
            await bus.settle()
            assert len(calls) == 2
            assert bus.dead_letters[0].error.startswith("CancelledError")

    asyncio.run(main())


def test_a_handler_that_makes_an_error_of_its_cancellation_has_not_failed_at_a_stop() -> None:
    async def main() -> None:
        subs, calls = Subscriptions(), []

        @subs.on("deal.won", name="h", max_attempts=1)
        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            if len(calls) == 1:
                try:
                    await bus.clock.sleep(3600)
                except asyncio.CancelledError:
                    raise ValueError from None

        async with MemoryBus() as bus:
            group = bus.include(subs, service="svc")
            await bus.publish(_event())
            await bus.advance(1)
            stopping = asyncio.ensure_future(group.stop(1.0))
            await bus.advance(30)
            await stopping
            bus.include(subs, service="svc")
            await bus.settle()
            assert len(calls) == 2
            assert bus.dead_letters == []

    asyncio.run(main())


def test_a_handler_that_does_not_end_keeps_neither_a_stop_nor_the_others(caplog: Any) -> None:
    async def main() -> None:
        subs, calls, end = Subscriptions(), [], asyncio.Event()

        @subs.on("deal.won", name="h", timeout=5, concurrency=2)
        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            while len(calls) == 1 and not end.is_set():
                try:
                    await end.wait()
                except asyncio.CancelledError:
                    continue

        async with MemoryBus() as bus:
            group = bus.include(subs, service="svc")
            await bus.publish(_event())
            await bus.advance(6)
            await bus.publish(_event())
            await bus.advance(0)
            assert len(calls) == 2
            stopping = asyncio.ensure_future(group.stop(1.0))
            await bus.advance(9.5)
            await stopping
            assert "do not end" in caplog.text
            end.set()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_program_that_ends_without_a_stop_begins_nothing_new() -> None:
    calls: list[Any] = []

    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="h", concurrency=1)
        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            await asyncio.Event().wait()

        bus = MemoryBus()
        bus.include(subs, service="svc")
        for _ in range(3):
            await bus.publish(_event())
        while not calls:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert len(calls) == 1


def test_a_stop_twice_and_without_events_is_fine() -> None:
    async def main() -> None:
        async with MemoryBus() as bus:
            group = bus.include(Subscriptions(), service="svc")
            await group.ready()
            await group.stop()
            await group.stop()
            assert group.health() == []

    asyncio.run(main())


def test_the_trace_of_a_request_goes_through_the_handler_and_what_it_publishes(
    place: Any,
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    async def main() -> None:
        subs, done = Subscriptions(), asyncio.Event()

        @subs.on("deal.won", name="first")
        async def first(event: Event[Any]) -> None:
            await bus.publish(Event(type="deal.paid", source="/x", tenant="acme", data={}))

        @subs.on("deal.paid", name="second")
        async def second(event: Event[Any]) -> None:
            done.set()

        async with place.open(), EventBus.connect(place.config, tracer_provider=provider) as bus:
            bus.include(subs, service="svc")
            with tracer.start_as_current_span("request"):
                await bus.publish(place.event())
            async with asyncio.timeout(20):
                await done.wait()

    asyncio.run(main())
    found = list(exporter.get_finished_spans())
    assert len({span.context.trace_id for span in found if span.context}) == 1
    processed = [span for span in found if span.name.startswith("process")]
    published = [span for span in found if span.name.startswith("publish")]
    assert len(processed) == len(published) == 2
    for span in processed:
        assert span.parent is not None
        assert [link.context.span_id for link in span.links] == [span.parent.span_id]
        assert span.parent.span_id in {one.context.span_id for one in published if one.context}
        assert dict(span.attributes or {})["messaging.consumer.group.name"].startswith("svc__")  # type: ignore[union-attr]  # a text


def test_a_log_says_which_handler_failed_where_and_nothing_of_what_it_said(caplog: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="h", max_attempts=2)
        async def handle(event: Event[Any]) -> None:
            raise ValueError("hunter2")

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            await bus.publish(_event())
            await bus.settle()
            assert "hunter2" in bus.dead_letters[0].error  # for who may see the event itself

    asyncio.run(main())
    assert "svc__h failed" in caplog.text
    assert f"ValueError at {__file__}:" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_is_raised_to_decide_has_sensible_arguments() -> None:
    assert Retry(after=5).after == 5.0
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="after"):
            Retry(after=wrong)
