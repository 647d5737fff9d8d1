"""EdgeMiddleware: the outermost layer of an app: its name in the log, its span, its numbers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import perf_counter
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mtenant_chassis.auth.middleware import ASGIApp, Message, Receive, Scope, Send
from mtenant_chassis.metrics import RequestMetrics
from mtenant_logger import log_context

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NO_PARENT: Final = Context()  # not None, which is whatever span is open here
_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class EdgeMiddleware:
    """Name the service in every line, continue the caller's trace (W3C), count and time the request.

    Without an OpenTelemetry SDK there is no span to be seen, but a trace id all the same: the caller's,
    or a new one, so that lines and calls that belong together can be found.

    Args:
        app: The app inside.
        service: The `service` of log lines: several apps may share a process.
        metrics: Where requests are counted.
        tracer_provider: OpenTelemetry's global one by default.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        metrics: RequestMetrics,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        self.app = app
        self._service = service
        self._metrics = metrics
        self._tracer = trace.get_tracer("mtenant_chassis", tracer_provider=tracer_provider)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        status, begun = 500, perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 503:
                    message["headers"] = _retry_after(message.get("headers", ()))
            await send(message)

        span = self._span(scope, method)
        token = otel_context.attach(trace.set_span_in_context(span))
        self._metrics.running += 1
        try:
            with log_context(service=self._service):
                await self.app(scope, receive, watch)
        finally:
            self._metrics.running -= 1
            otel_context.detach(token)
            route = _route(scope)
            self._metrics.observe(method, route, status, perf_counter() - begun)
            _end(span, method, route, status)

    def _span(self, scope: Scope, method: str) -> Span:
        fields = _fields(scope["headers"])
        parent = _PROPAGATOR.extract(fields) if fields else _NO_PARENT
        span = self._tracer.start_span(method, context=parent, kind=SpanKind.SERVER)
        if span.get_span_context().is_valid:
            return span
        # No SDK, and nobody upstream: a trace that is not recorded has an id nevertheless.
        noise = os.urandom(24)
        return NonRecordingSpan(
            SpanContext(
                int.from_bytes(noise[:16], "big") or 1,
                int.from_bytes(noise[16:], "big") or 1,
                is_remote=False,
                trace_flags=_NOT_SAMPLED,
            )
        )


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the two fields of a trace, as the propagator asks for them."""
    return {
        name.decode(): value.decode("latin-1")
        for name, value in headers
        if name in {b"traceparent", b"tracestate"}
    }


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    # Whoever knows better has said so (RFC 9110, 10.2.3); without it clients ask again at once.
    told = list(headers)
    if not any(name == b"retry-after" for name, _ in told):
        told.append((b"retry-after", b"1"))
    return told


def _route(scope: Scope) -> str:
    # The template, never the path: labels and span names stay few.
    return getattr(scope.get("route"), "path", "") or "unmatched"


def _end(span: Span, method: str, route: str, status: int) -> None:
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
            }
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()


def inject(fields: dict[str, str]) -> dict[str, str]:
    """Add the present trace to the fields of a request that is sent to another service."""
    _PROPAGATOR.inject(fields)
    return fields
