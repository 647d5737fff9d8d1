"""Spans and metrics of a bus, under OpenTelemetry's names.

The names are those of the semantic conventions 1.44 for messaging clients; what they do not name
begins with `mtenant.`. The data of an event is nowhere, nor is the text of an error. The tenant is an
attribute of spans, and of no metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from importlib.metadata import version
from time import perf_counter
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import Counter, Histogram, MeterProvider
from opentelemetry.trace import (
    Link,
    ProxyTracerProvider,
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mtenant_errors import AppError
from mtenant_events.config import EventsConfig

# Semantic conventions, messaging metrics: the advised boundaries, in seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_SCOPE: Final = "mtenant_events"
_TRACEPARENT: Final = "traceparent"
_MOST: Final = 1000
_TEMPLATE: Final = "messaging.destination.template"
_PROPAGATOR: Final = TraceContextTextMapPropagator()

Attributes = dict[str, str | int]


class Telemetry:
    """Tells operators what a bus does.

    Without a tracer and a meter provider an observation costs a few microseconds.

    Args:
        config: Says where NATS is, and what subjects begin with.
        tracer_provider: OpenTelemetry's global one by default.
        meter_provider: OpenTelemetry's global one by default.
    """

    def __init__(
        self,
        config: EventsConfig,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        release = version("mtenant-events")
        self._listens = tracer_provider is not None
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider)
        self._prefix = config.prefix
        self._place = _place(config)
        self._templates: dict[str, str] = {}
        self._processed: dict[tuple[str, str], Attributes] = {}
        meter = metrics.get_meter(_SCOPE, release, meter_provider)
        self._operations = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of publishing",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._processing = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of handling an event",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Messages that were to be sent"
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Messages that were delivered"
        )
        self._ended = meter.create_counter(
            "mtenant.events.deliveries", "{delivery}", "Deliveries, by how they ended"
        )

    def publishing(self, type_: str | None, count: int = 1) -> Observation:
        """Watch what is published in a block; the block gets the span that the messages are made in.

        Args:
            type_: The type of the event; None for several.
            count: How many.
        """
        attributes: Attributes = {**self._place, "messaging.operation.name": "publish"}
        name = f"publish {self._prefix}.evt"
        if type_ is not None:
            attributes[_TEMPLATE] = self._template(type_)
            name = f"publish {attributes[_TEMPLATE]}"
        span = None
        if self._records():
            more: Attributes = {"messaging.operation.type": "send"}
            if type_ is None:
                more["messaging.batch.message_count"] = count
            span = self._tracer.start_span(
                name, kind=SpanKind.PRODUCER, attributes=attributes | more
            )
        return Observation(span, attributes, self._operations, self._sent, count=count)

    def processing(
        self,
        headers: Mapping[str, str],
        type_: str,
        *,
        tenant: str,
        consumer: str,
        message_id: str,
        details: Mapping[str, str | int] | None = None,
    ) -> Observation:
        """Watch the handling of an event in a block, in the trace in which the event was made.

        Args:
            headers: Of the message: its `traceparent` is the parent.
            type_: The type of the event.
            tenant: Whose event it is.
            consumer: The durable consumer.
            message_id: The id of the event.
            details: More attributes of the span, such as the sequence in the stream.
        """
        attributes = self._processed.get((type_, consumer))
        if attributes is None:
            attributes = {
                **self._place,
                "messaging.operation.name": "process",
                _TEMPLATE: self._template(type_),
                "messaging.consumer.group.name": consumer,
            }
            if len(self._processed) < _MOST:
                self._processed[type_, consumer] = attributes
        origin = None
        if _TRACEPARENT in headers:
            origin = _PROPAGATOR.extract(headers)
        span = None
        if self._records():
            more: Attributes = {
                "messaging.operation.type": "process",
                "messaging.message.id": message_id,
                "mtenant.tenant": tenant,
                **(details or {}),
            }
            made = trace.get_current_span(origin).get_span_context() if origin else None
            span = self._tracer.start_span(
                f"process {attributes[_TEMPLATE]}",
                origin,
                kind=SpanKind.CONSUMER,
                attributes=attributes | more,
                # The conventions ask for the link; the parent makes it one trace to look at.
                links=[Link(made)] if made is not None and made.is_valid else [],
            )
        return Observation(span, attributes, self._processing, self._consumed, origin=origin)

    def ended(self, consumer: str, outcome: str, reason: str | None = None) -> None:
        """Count how a delivery ended.

        Args:
            consumer: The durable consumer.
            outcome: Such as `handled`, `duplicate`, `retried`, `dead_lettered`.
            reason: Why; of a closed set.
        """
        attributes = {"messaging.consumer.group.name": consumer, "mtenant.outcome": outcome}
        if reason is not None:
            attributes["mtenant.reason"] = reason
        self._ended.add(1, attributes)

    def _records(self) -> bool:
        return self._listens or not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)

    def _template(self, type_: str) -> str:
        # What comes in has been checked against the grammar, but who publishes names the types.
        if (known := self._templates.get(type_)) is None:
            known = f"{self._prefix}.evt.{{tenant}}.{type_}.{{partition}}"
            if len(self._templates) < _MOST:
                self._templates[type_] = known
        return known


class Observation:
    """One thing under watch, for as long as its block."""

    __slots__ = (
        "_attributes",
        "_context",
        "_count",
        "_counter",
        "_duration",
        "_span",
        "_started",
        "_token",
    )

    def __init__(
        self,
        span: Span | None,
        attributes: Attributes,
        duration: Histogram,
        counter: Counter,
        *,
        count: int = 1,
        origin: Context | None = None,
    ) -> None:
        self._span = span
        self._context = origin if span is None else trace.set_span_in_context(span, origin)
        self._token: Token[Context] | None = None
        self._attributes = attributes
        self._duration = duration
        self._counter = counter
        self._count = count

    def __enter__(self) -> Span | None:
        """Return the span; None if nobody records."""
        if self._context is not None:
            self._token = attach(self._context)
        self._started = perf_counter()
        return self._span

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Count it. What an exception says may quote an event: its name has to do."""
        seconds = perf_counter() - self._started
        if self._span is not None:
            if exc is not None:
                self._span.set_attribute("error.type", _name(exc))
                self._span.set_status(StatusCode.ERROR)
            self._span.end()
        if self._token is not None:
            detach(self._token)
        attributes = self._attributes
        if exc is not None:
            attributes = {**attributes, "error.type": _name(exc)}
        self._duration.record(seconds, attributes)
        self._counter.add(self._count, attributes)


def _place(config: EventsConfig) -> Attributes:
    place: Attributes = {"messaging.system": "nats"}
    servers = config.servers
    if len(servers) == 1:  # one of several: which one is known only later, and may change
        parts = urlsplit(servers[0])
        place["server.address"] = str(parts.hostname)
        place["server.port"] = parts.port or 4222
    return place


def _name(exc: BaseException) -> str:
    return exc.code if isinstance(exc, AppError) else type(exc).__qualname__
