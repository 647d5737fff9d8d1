"""What a bus tells OpenTelemetry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nats
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mtenant_config import Secret
from mtenant_events import Event, EventBus, EventsConfig, EventTooLarge, StreamUnavailable
from mtenant_events.codec import encode
from mtenant_events.telemetry import Telemetry

Make = Callable[..., Event[Any]]


class Observed:
    """Providers that keep what they are told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def providers(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}


@pytest.fixture
def observed() -> Observed:
    return Observed()


def test_a_published_event_is_a_span_and_its_context_is_in_the_message(
    config: EventsConfig, make_event: Make, observed: Observed
) -> None:
    async def program() -> Any:
        async with EventBus.connect(config, **observed.providers) as bus:
            await bus.topology.ensure()
            await bus.publish(make_event(id="e1"))
        client = await nats.connect(config.servers[0])
        message = await client.jetstream().get_msg(config.stream, 1)
        await client.close()
        return message

    message = asyncio.run(program())
    template = f"{config.prefix}.evt.{{tenant}}.deal.closed_won.{{partition}}"
    span = observed.spans[f"publish {template}"]
    attributes = dict(span.attributes or {})

    assert span.kind is SpanKind.PRODUCER
    assert attributes["messaging.system"] == "nats"
    assert attributes["messaging.operation.type"] == "send"
    assert attributes["messaging.destination.template"] == template
    assert attributes["messaging.destination.name"] == message.subject
    assert attributes["messaging.message.id"] == "e1"
    assert attributes["mtenant.tenant"] == "acme"
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["mtenant.stream.sequence"] == 1
    assert f"{span.context.span_id:016x}" in message.headers["traceparent"]


def test_metrics_have_the_names_of_the_conventions_and_no_tenant(
    config: EventsConfig, make_event: Make, observed: Observed
) -> None:
    async def program() -> None:
        async with EventBus.connect(config, **observed.providers) as bus:
            with pytest.raises(StreamUnavailable):
                await bus.publish(make_event())
            await bus.topology.ensure()
            await bus.publish(make_event())
            await bus.publish_many([make_event() for _ in range(5)])

    asyncio.run(program())
    points = observed.points()
    sent = [
        (point.attributes.get("error.type"), point.value)
        for point in points["messaging.client.sent.messages"]
    ]
    assert sorted(sent, key=str) == [("STREAM_UNAVAILABLE", 1), (None, 1), (None, 5)]
    assert len(points["messaging.client.operation.duration"]) == 3
    assert "acme" not in json.dumps([dict(p.attributes) for all_ in points.values() for p in all_])


def test_many_events_are_one_span_and_their_messages_its_children(
    config: EventsConfig, make_event: Make, observed: Observed
) -> None:
    async def program() -> None:
        async with EventBus.connect(config, **observed.providers) as bus:
            await bus.publish_many([make_event() for _ in range(3)])

    asyncio.run(program())
    span = observed.spans[f"publish {config.prefix}.evt"]
    assert (span.attributes or {})["messaging.batch.message_count"] == 3
    assert span.status.status_code is StatusCode.ERROR  # there is no stream


def test_an_error_is_named_and_quotes_nothing(
    config: EventsConfig, make_event: Make, observed: Observed
) -> None:
    async def program() -> None:
        async with EventBus.connect(config, **observed.providers) as bus:
            with pytest.raises(EventTooLarge):
                await bus.publish(make_event(data="hunter2" * 200_000))
            with pytest.raises(TypeError):
                await bus.publish(make_event(data={"password": object()}))

    asyncio.run(program())
    kinds = [
        (span.attributes or {})["error.type"] for span in observed.exporter.get_finished_spans()
    ]
    assert kinds == ["EVENT_TOO_LARGE", "TypeError"]
    assert "hunter2" not in "".join(
        span.to_json() for span in observed.exporter.get_finished_spans()
    )


def test_a_handler_goes_on_with_the_trace_of_the_event(
    make_event: Make, observed: Observed
) -> None:
    config = EventsConfig()
    telemetry = Telemetry(config, **observed.providers)
    with observed.tracer_provider.get_tracer("t").start_as_current_span("request") as request:
        message = encode(make_event(id="e1"), config)
    with telemetry.processing(
        message.headers,
        "deal.closed_won",
        tenant="acme",
        consumer="communication__log",
        message_id="e1",
        details={"mtenant.stream.sequence": 7},
    ):
        inside = trace.get_current_span().get_span_context()
        again = encode(make_event(), config)

    span = observed.spans["process crm.evt.{tenant}.deal.closed_won.{partition}"]
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert [link.context.span_id for link in span.links] == [request.get_span_context().span_id]
    assert (span.attributes or {})["messaging.consumer.group.name"] == "communication__log"
    assert (span.attributes or {})["mtenant.stream.sequence"] == 7
    assert f"{inside.span_id:016x}" in again.headers["traceparent"]
    assert trace.get_current_span().get_span_context().is_valid is False


def test_without_a_recorder_the_trace_goes_on_too(make_event: Make, observed: Observed) -> None:
    config = EventsConfig()
    with observed.tracer_provider.get_tracer("t").start_as_current_span("request"):
        message = encode(make_event(), config)
    silent = Telemetry(config)
    with silent.processing(
        message.headers, "deal.closed_won", tenant="acme", consumer="c", message_id="e1"
    ) as span:
        again = encode(make_event(), config)

    assert span is None
    assert again.headers["traceparent"] == message.headers["traceparent"]


def test_what_is_handled_is_counted_by_how_it_ended(make_event: Make, observed: Observed) -> None:
    telemetry = Telemetry(EventsConfig(), **observed.providers)
    for error in (None, ZeroDivisionError):
        with (
            suppress(ZeroDivisionError),
            telemetry.processing(
                {}, "deal.closed_won", tenant="acme", consumer="c", message_id="e1"
            ),
        ):
            if error:
                raise error
    telemetry.ended("c", "handled")
    telemetry.ended("c", "dead_lettered", "invalid_json")

    points = observed.points()
    assert [p.attributes.get("error.type") for p in points["messaging.process.duration"]] == [
        None,
        "ZeroDivisionError",
    ]
    assert [dict(p.attributes) for p in points["mtenant.events.deliveries"]] == [
        {"messaging.consumer.group.name": "c", "mtenant.outcome": "handled"},
        {
            "messaging.consumer.group.name": "c",
            "mtenant.outcome": "dead_lettered",
            "mtenant.reason": "invalid_json",
        },
    ]


def test_one_of_several_servers_is_not_named(observed: Observed) -> None:
    telemetry = Telemetry(
        EventsConfig(url=Secret("nats://u:p@a.example.com,nats://b.example.com")),
        **observed.providers,
    )
    with telemetry.publishing("a.b"):
        pass

    (span,) = observed.exporter.get_finished_spans()
    assert "server.address" not in (span.attributes or {})
