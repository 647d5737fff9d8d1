"""The span of a relay's batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Link, ProxyTracerProvider, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mtenant_events.store.row import Failure, Row

_SCOPE: Final = "mtenant_events"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


@contextmanager
def batch_span(rows: Sequence[Row], failed: Sequence[Failure]) -> Iterator[None]:
    """Record the publishing of a batch, linked to what each of its events was made in.

    The messages go on with the context of their making, so that a handler continues the trace of the
    request and not the relay's; for a batch the semantic conventions for messaging have links.

    Args:
        rows: What is published.
        failed: What could not be, once the block has ended.
    """
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        yield  # nobody records, and a link for each row is work
        return
    contexts = (
        trace.get_current_span(_PROPAGATOR.extract(row.headers)).get_span_context() for row in rows
    )
    with trace.get_tracer(_SCOPE).start_as_current_span(
        "publish outbox",
        kind=SpanKind.CLIENT,
        links=[Link(context) for context in contexts if context.is_valid],
        attributes={
            "messaging.system": "nats",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": len(rows),
        },
    ) as span:
        yield
        if failed:
            span.set_status(StatusCode.ERROR, f"{len(failed)} of {len(rows)} events failed")
