"""Spans, metrics and the slow-query log of a database, under OpenTelemetry's names.

The names are those of the semantic conventions 1.44 for database clients; what they do not name
begins with `mtenant.`. A statement is shown without its literals. Its arguments are nowhere, nor is
the text of an error, which may quote a row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import ref

import psycopg
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, MeterProvider
from opentelemetry.metrics import Observation as Measurement
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, StatusCode, TracerProvider

from mtenant_database.metrics import BUCKETS, Metrics
from mtenant_database.summary import summarize
from mtenant_database.tenant_id import SCHEMA_PREFIX

if TYPE_CHECKING:
    from mtenant_database.config import DatabaseConfig
    from mtenant_database.pool import Pool, Reason

Kind = Literal["select", "exec", "begin", "commit", "rollback", "transaction"]
Attributes = dict[str, str | int]

_SCOPE: Final = "mtenant_database"
_TENANT: Final = "mtenant.tenant"
_OTHER: Final = "_OTHER"  # what the conventions call a value that is not told apart
_MOST_LABELS: Final = 1000
_LONGEST: Final = 4096  # longer statements are generated, and hardly come again
_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

logger = logging.getLogger(__name__)


class Telemetry:
    """Tells operators what a database does: counters, OpenTelemetry, and a log of slow statements.

    Without a tracer and a meter provider an observation costs a few microseconds.

    Args:
        metrics: Counts in this process, with or without OpenTelemetry.
        config: Says where the database is, and from what duration on a statement is slow.
        tracing: Whether statements make spans. May be switched at any time.
        tenant_labels: Whether `db.client.operation.duration` has the tenant as an attribute; the
            first 1,000 are told apart. Spans always have it.
        tracer_provider: OpenTelemetry's global one by default; if that is set later, it is found when
            the next connection is lent.
        meter_provider: OpenTelemetry's global one by default.

    Attributes:
        metrics: The counters.
        tracing: See above.
    """

    def __init__(
        self,
        metrics: Metrics,
        config: DatabaseConfig,
        *,
        tracing: bool = True,
        tenant_labels: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self.metrics = metrics
        self.tracing = tracing
        self._slow = config.slow_query_threshold.total_seconds()
        self._place, self._database = _place(config)
        self._summaries = _Labels()
        self._tenants = _Labels() if tenant_labels else None
        self._measured: dict[tuple[str | None, ...], Attributes] = {}
        self._pools: list[ref[Pool[Any]]] = []
        self._listens = tracer_provider is not None or _somebody_listens()
        release = version("mtenant-database")
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider)
        self._instruments = _Instruments(
            otel_metrics.get_meter(_SCOPE, release, meter_provider), self._open_pools
        )

    def begin(self, operation: Kind, statement: str, tenant: str | None) -> Observation:
        """Start to watch one thing that is done in the database; call `end()` on what it returns.

        Args:
            operation: What is done. A `transaction` is everything from BEGIN to its end.
            statement: The text of the statement, without arguments.
            tenant: For whom, if for a tenant.
        """
        span = None
        if self._listens and self.tracing:
            span = self._span(operation, statement, tenant)
        return Observation(self, operation, statement, tenant, span)

    def watch(self, pool: Pool[Any]) -> None:
        """Report the numbers of a pool, for as long as it is open."""
        self._pools = [known for known in self._pools if known() is not None] + [ref(pool)]

    def connection_made(self, pool: str, seconds: float) -> None:
        """Count a new connection, and how long it took to make it."""
        self.metrics.record_connection()
        self._instruments.create_time.record(seconds, _of_pool(pool))

    def connection_failed(self) -> None:
        """Count an attempt to connect that failed."""
        self.metrics.record_connection(failed=True)

    def connection_closed(self, pool: str, reason: Reason) -> None:
        """Count a connection that the pool has closed."""
        self._instruments.closed.add(1, {**_of_pool(pool), "mtenant.reason": reason})

    def loan_began(self, pool: str, waited: float) -> None:
        """Count a connection that was lent, and how long its borrower waited."""
        # Not for each statement of the loan: it reads the environment.
        self._listens = self._listens or _somebody_listens()
        self.metrics.record_active(1)
        self._instruments.wait_time.record(waited, _of_pool(pool))

    def loan_ended(self, pool: str, used: float) -> None:
        """Count a connection that came back, and how long it was out."""
        self.metrics.record_active(-1)
        self._instruments.use_time.record(used, _of_pool(pool))

    def loan_timed_out(self, pool: str) -> None:
        """Count a request for a connection that was not served in time."""
        self._instruments.timeouts.add(1, _of_pool(pool))

    def _open_pools(self) -> Iterator[Pool[Any]]:
        for known in self._pools:
            pool = known()
            if pool is not None and not pool.closed:
                yield pool

    def _span(self, operation: Kind, statement: str, tenant: str | None) -> Span:
        attributes: Attributes = {**self._place, "db.namespace": self._database}
        if tenant is not None:
            attributes[_TENANT] = tenant
            attributes["db.namespace"] = f"{self._database}|{SCHEMA_PREFIX}{tenant}"
        if operation == "transaction":
            return self._tracer.start_span("transaction", attributes=attributes)
        shown = summarize(statement)
        attributes["db.query.summary"] = shown.summary
        attributes["db.query.text"] = shown.text
        return self._tracer.start_span(shown.summary, kind=SpanKind.CLIENT, attributes=attributes)

    def _ended(
        self, seen: Observation, seconds: float, rows: int | None, error: str | None
    ) -> None:
        """Count what was observed. `error` is its `error.type`."""
        if seen.operation == "transaction":
            self.metrics.record_transaction(seconds)
            self._instruments.transaction.record(seconds, self._place)
            return
        self.metrics.record_query(
            seen.operation, seconds, failed=error is not None, tenant=seen.tenant
        )
        attributes = self._attributes(seen, error)
        self._instruments.duration.record(seconds, attributes)
        if rows is not None and seen.operation == "select":
            self._instruments.returned_rows.record(rows, attributes)
        if seconds >= self._slow:
            _log_slow(seen, seconds, rows)

    def _attributes(self, seen: Observation, error: str | None) -> Attributes:
        tenant = None
        if self._tenants is not None and seen.tenant is not None:
            tenant = self._tenants.label(seen.tenant)
        key = (seen.statement, error, tenant)
        known = self._measured.get(key)
        if known is not None:
            return known
        summary = self._summaries.label(summarize(seen.statement).summary)
        attributes: Attributes = {**self._place, "db.namespace": self._database}
        attributes["db.query.summary"] = summary
        if error is not None:
            attributes["error.type"] = error
        if tenant is not None:
            attributes[_TENANT] = tenant
        if len(self._measured) < _MOST_LABELS and len(seen.statement) <= _LONGEST:
            self._measured[key] = attributes
        return attributes


class Observation:
    """One statement or transaction under watch, from `Telemetry.begin()` to `end()`.

    Attributes:
        operation: What is done.
        statement: Its text.
        tenant: For whom.
    """

    __slots__ = ("_begun", "_ended", "_span", "_telemetry", "operation", "statement", "tenant")

    def __init__(
        self,
        telemetry: Telemetry,
        operation: Kind,
        statement: str,
        tenant: str | None,
        span: Span | None,
    ) -> None:
        self.operation = operation
        self.statement = statement
        self.tenant = tenant
        self._telemetry = telemetry
        self._span = span
        self._ended: float | None = None
        self._begun = perf_counter()

    def end(self, *, rows: int | None = None, error: BaseException | None = None) -> float:
        """Count it, and return how long it took, in seconds. A second call counts nothing.

        Args:
            rows: How many rows were returned or changed, if that is known.
            error: Why it failed. Its text is not used.
        """
        if self._ended is not None:
            return self._ended
        self._ended = perf_counter() - self._begun
        status = kind = None
        if error is not None:
            status = _sqlstate(error)
            kind = status or _name(error)
        if self._span is not None:
            if rows is not None:
                self._span.set_attribute("db.response.returned_rows", rows)
            if kind is not None:
                self._span.set_attribute("error.type", kind)
                self._span.set_status(StatusCode.ERROR)
            if status is not None:
                self._span.set_attribute("db.response.status_code", status)
            self._span.end()
        self._telemetry._ended(self, self._ended, rows, kind)
        return self._ended


class _Labels:
    """Values of an attribute: the first 1,000, so that no program's memory grows by them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= _MOST_LABELS:
            return _OTHER
        self._known.add(value)
        return value


class _Instruments:
    """What is measured: the conventions' instruments of a client and its pool, and three of ours."""

    def __init__(self, meter: otel_metrics.Meter, pools: Callable[[], Iterator[Pool[Any]]]) -> None:
        def seconds(name: str, description: str) -> otel_metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=BUCKETS
            )

        def gauge(name: str, unit: str, description: str, *keys: tuple[str, Attributes]) -> None:
            def measure(_: CallbackOptions) -> Iterator[Measurement]:
                for pool in pools():
                    stats = pool.get_stats()
                    for key, extra in keys:
                        yield Measurement(stats[key], {**_of_pool(pool.name), **extra})

            meter.create_observable_up_down_counter(name, [measure], unit, description)

        client = "db.client."
        self.duration = seconds(f"{client}operation.duration", "Duration of database operations")
        self.returned_rows = meter.create_histogram(
            f"{client}response.returned_rows",
            "{row}",
            "Rows that a statement returned",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        self.transaction = seconds("mtenant.db.transaction.duration", "From BEGIN to the end")
        connection = f"{client}connection."
        self.create_time = seconds(f"{connection}create_time", "Time to make a connection")
        self.wait_time = seconds(f"{connection}wait_time", "Time to get a connection of the pool")
        self.use_time = seconds(f"{connection}use_time", "Time from borrowing to returning one")
        self.timeouts = meter.create_counter(
            f"{connection}timeouts", "{timeout}", "Requests that got no connection in time"
        )
        self.closed = meter.create_counter(
            "mtenant.db.connection.closed", "{connection}", "Connections closed, by reason"
        )
        state = "db.client.connection.state"
        gauge(
            f"{connection}count",
            "{connection}",
            "Connections in a state",
            ("pool_available", {state: "idle"}),
            ("pool_used", {state: "used"}),
        )
        gauge(f"{connection}max", "{connection}", "Most connections allowed", ("pool_max", {}))
        gauge(f"{connection}idle.max", "{connection}", "Most idle ones allowed", ("pool_max", {}))
        gauge(f"{connection}idle.min", "{connection}", "Fewest idle ones", ("pool_min", {}))
        gauge(
            f"{connection}pending_requests",
            "{request}",
            "Requests that wait for a connection",
            ("requests_waiting", {}),
        )


def _place(config: DatabaseConfig) -> tuple[Attributes, str]:
    """Return the attributes that say which server, and the name of the database."""
    parameters = config.parameters()
    place: Attributes = {"db.system.name": "postgresql"}
    host, port = parameters.get("host", ""), parameters.get("port", "5432")
    # One of several hosts: which one is known only once a connection is made.
    if host and "," not in host:
        place["server.address"] = host
        if port.isdecimal():
            place["server.port"] = int(port)
    return place, parameters["dbname"]


def _somebody_listens() -> bool:
    """Tell whether there is a tracer provider by now; it may be set at any time, and then stays."""
    return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


def _of_pool(name: str) -> Attributes:
    return {"db.client.connection.pool.name": name}


def _log_slow(seen: Observation, seconds: float, rows: int | None) -> None:
    shown = summarize(seen.statement)
    logger.warning(
        "slow statement, %.3f s%s: %s",
        seconds,
        "" if seen.tenant is None else f", tenant {seen.tenant}",
        shown.text,
        extra={
            "db_summary": shown.summary,
            "db_statement": shown.text,
            "duration_ms": round(seconds * 1000, 3),
            "rows": rows,
            "tenant_id": seen.tenant,
        },
    )


def _sqlstate(error: BaseException) -> str | None:
    """Return the server's code, also of an error that was translated from the driver's."""
    found: BaseException | None = error
    for _ in range(4):
        if found is None:
            return None
        if isinstance(found, psycopg.Error) and found.sqlstate:
            return found.sqlstate
        found = found.__cause__
    return None


def _name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
