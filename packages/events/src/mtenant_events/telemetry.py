"""Spans and metrics of a bus, under OpenTelemetry's names.

The names are those of the semantic conventions 1.44 for messaging clients; what they do not name
begins with `mtenant.`. The data of an event is nowhere, nor is the text of an error. The tenant is an
attribute of spans, and of no metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mtenant_errors import AppError
from mtenant_events.config import EventsConfig

# Semantic conventions, messaging metrics: the advised boundaries, in seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_SCOPE: Final = "mtenant_events"
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

    @contextmanager
    def publishing(self, type_: str | None, count: int = 1) -> Iterator[Span | None]:
        """Watch what is published inside; the span is the one that the messages are made in.

        Args:
            type_: The type of the event; None for several.
            count: How many.
        """
        started, error = perf_counter(), None
        attributes: Attributes = {**self._place, "messaging.operation.name": "publish"}
        if type_ is not None:
            attributes["messaging.destination.template"] = self._template(type_)
        try:
            if not self._records():
                yield None
            else:
                more: Attributes = {"messaging.operation.type": "send"}
                if type_ is None:
                    more["messaging.batch.message_count"] = count
                name = attributes.get("messaging.destination.template", f"{self._prefix}.evt")
                with self._span(f"publish {name}", SpanKind.PRODUCER, attributes | more) as span:
                    yield span
        except BaseException as exc:
            error = _name(exc)
            raise
        finally:
            if error is not None:
                attributes["error.type"] = error
            self._operations.record(perf_counter() - started, attributes)
            self._sent.add(count, attributes)

    @contextmanager
    def processing(
        self,
        headers: Mapping[str, str],
        type_: str,
        *,
        tenant: str,
        consumer: str,
        message_id: str,
        details: Mapping[str, str | int] | None = None,
    ) -> Iterator[Span | None]:
        """Watch the handling of an event inside, in the trace in which the event was made.

        Args:
            headers: Of the message: its `traceparent` is the parent.
            type_: The type of the event.
            tenant: Whose event it is.
            consumer: The durable consumer.
            message_id: The id of the event.
            details: More attributes of the span, such as the sequence in the stream.
        """
        started, error = perf_counter(), None
        attributes: Attributes = {
            **self._place,
            "messaging.operation.name": "process",
            "messaging.destination.template": self._template(type_),
            "messaging.consumer.group.name": consumer,
        }
        try:
            if not self._records():
                yield None
            else:
                more: Attributes = {
                    "messaging.operation.type": "process",
                    "messaging.message.id": message_id,
                    "mtenant.tenant": tenant,
                    **(details or {}),
                }
                name = f"process {attributes['messaging.destination.template']}"
                carrier = {key.lower(): value for key, value in headers.items()}
                with self._span(name, SpanKind.CONSUMER, attributes | more, carrier) as span:
                    yield span
        except BaseException as exc:
            error = _name(exc)
            raise
        finally:
            if error is not None:
                attributes["error.type"] = error
            self._processing.record(perf_counter() - started, attributes)
            self._consumed.add(1, attributes)

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

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        carrier: Mapping[str, str] | None = None,
    ) -> Iterator[Span]:
        context = None if carrier is None else _PROPAGATOR.extract(carrier)
        # What an exception says may quote an event: its name has to do.
        with self._tracer.start_as_current_span(
            name,
            context,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as exc:
                span.set_attribute("error.type", _name(exc))
                span.set_status(StatusCode.ERROR)
                raise

    def _template(self, type_: str) -> str:
        # What comes in has been checked against the grammar, but who publishes names the types.
        if (known := self._templates.get(type_)) is None:
            known = f"{self._prefix}.evt.{{tenant}}.{type_}.{{partition}}"
            if len(self._templates) < 1000:
                self._templates[type_] = known
        return known


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
