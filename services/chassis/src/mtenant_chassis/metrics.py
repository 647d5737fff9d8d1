"""What `/metrics` tells, in Prometheus's format; each app has a registry of its own.

No metric has the tenant as a label: there are too many of them, and who they are is nobody's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RequestMetrics:
    """Counts and times the requests of one app.

    Attributes:
        registry: The app's own; a service adds its metrics to it.
        running: How many requests are being answered.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route"),
            registry=self.registry,
        )
        self.running = 0  # in one thread, the event loop's
        Gauge(
            "http_requests_in_flight", "Requests that are being answered.", registry=self.registry
        ).set_function(lambda: self.running)
        # As many as the registry has, which keeps each of them, too.
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        answered = self._answered.get((method, route, status))
        if answered is None:
            counter = self._requests.labels(method, route, str(status))
            answered = counter, self._seconds.labels(method, route)
            self._answered[method, route, status] = answered
        counter, histogram = answered
        counter.inc()
        histogram.observe(seconds)

    def expose(self, name: str, numbers: Callable[[], dict[str, int | float]]) -> None:
        """Show numbers that somebody else counts, each time they are asked for.

        Args:
            name: Whose they are, put before each.
            numbers: Returns them by name; those that end in `_total` only grow.
        """
        self.registry.register(_Numbers(name, numbers))

    def render(self) -> bytes:
        """Return everything as text."""
        return generate_latest(self.registry)


class _Numbers(Collector):
    def __init__(self, name: str, numbers: Callable[[], dict[str, int | float]]) -> None:
        self._name = name
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        for name, value in self._numbers().items():
            kind: Any = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(name, f"Counted by {self._name}.", value=value)

    def describe(self) -> Iterable[Metric]:
        return ()  # what there is is known when somebody asks
