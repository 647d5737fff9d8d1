from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mtenant_config import Secret
from mtenant_database.config import DatabaseConfig
from mtenant_database.database import Database
from mtenant_database.metrics import BUCKETS, Metrics
from mtenant_database.pool import Pool
from mtenant_database.telemetry import Telemetry
from mtenant_errors import Conflict

CONFIG = DatabaseConfig(url=Secret("postgresql://crm:hunter2@db.example.com:5433/crm"))
PLACE = {
    "db.system.name": "postgresql",
    "server.address": "db.example.com",
    "server.port": 5433,
    "db.namespace": "crm",
}


class Listening:
    """A tracer and a meter provider that keep what they are told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider(metric_readers=[self._reader])

    def telemetry(self, config: DatabaseConfig = CONFIG, **options: Any) -> Telemetry:
        return Telemetry(
            options.pop("metrics", None) or Metrics(),
            config,
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            **options,
        )

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def points(self, name: str) -> list[Any]:
        """Return the data points of one metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def listening() -> Iterator[Listening]:
    it = Listening()
    yield it
    it.tracers.shutdown()
    it.meters.shutdown()


def row_error() -> psycopg.Error:
    """A server's error that quotes a row."""
    return psycopg.errors.UniqueViolation("Key (email)=(ada@example.com) already exists")


def test_a_statement_is_a_span_of_the_conventions(listening: Listening) -> None:
    seen = listening.telemetry().begin(
        "select", "select name from contacts where id = %s and age > 42", "acme"
    )
    seconds = seen.end(rows=1)
    (span,) = listening.spans()
    assert span.name == "SELECT contacts"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        **PLACE,
        "db.namespace": "crm|tenant_acme",
        "db.query.summary": "SELECT contacts",
        "db.query.text": "select name from contacts where id = %s and age > ?",
        "db.response.returned_rows": 1,
        "mtenant.tenant": "acme",
    }
    assert span.end_time is not None
    assert span.start_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(seconds, abs=0.05)


def test_the_span_is_a_child_of_the_current_one(listening: Listening) -> None:
    tracer = listening.tracers.get_tracer("a program")
    with tracer.start_as_current_span("request") as parent:
        listening.telemetry().begin("exec", "delete from contacts", None).end()
    child = next(span for span in listening.spans() if span.name == "DELETE contacts")
    assert child.parent is not None
    assert child.parent.span_id == parent.get_span_context().span_id


@pytest.mark.parametrize("translated", [True, False])
def test_an_error_is_named_by_its_code_and_its_text_is_nowhere(
    listening: Listening, caplog: pytest.LogCaptureFixture, translated: bool
) -> None:
    error: BaseException = row_error()
    if translated:
        try:
            raise Conflict("there is one already") from error
        except Conflict as conflict:
            error = conflict
    metrics = Metrics()
    config = DatabaseConfig(name="crm", slow_query_threshold=timedelta(0))
    watched = listening.telemetry(config, metrics=metrics)
    watched.begin("exec", "insert into contacts values (%s)", "acme").end(error=error)
    (span,) = listening.spans()
    assert span.status.status_code is StatusCode.ERROR
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == attributes["db.response.status_code"] == "23505"
    (point,) = listening.points("db.client.operation.duration")
    assert point.attributes["error.type"] == "23505"
    assert metrics.snapshot().query_errors["exec"] == 1
    assert "ada@example.com" not in f"{span.to_json()}{point}{caplog.text}"
    assert not span.events


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (TimeoutError(), "TimeoutError"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (psycopg.OperationalError("gone"), "psycopg.OperationalError"),
    ],
)
def test_an_error_without_a_code_is_named_by_its_class(
    listening: Listening, error: BaseException, name: str
) -> None:
    listening.telemetry().begin("commit", "COMMIT", None).end(error=error)
    (span,) = listening.spans()
    assert dict(span.attributes or {})["error.type"] == name
    assert "db.response.status_code" not in dict(span.attributes or {})


def test_durations_are_a_histogram_of_the_conventions(listening: Listening) -> None:
    telemetry = listening.telemetry()
    for tenant in ("acme", "other", None):
        telemetry.begin("select", "select 1 from contacts", tenant).end(rows=3)
    (point,) = listening.points("db.client.operation.duration")
    assert point.count == 3
    assert point.explicit_bounds == BUCKETS
    assert dict(point.attributes) == {**PLACE, "db.query.summary": "SELECT contacts"}
    (point,) = listening.points("db.client.response.returned_rows")
    assert (point.count, point.sum) == (3, 9)


def test_the_tenant_is_a_label_of_metrics_only_when_asked_for(listening: Listening) -> None:
    telemetry = listening.telemetry(tenant_labels=True)
    for number in range(1100):
        telemetry.begin("select", "select 1", f"t{number}").end()
    labels = {
        point.attributes["mtenant.tenant"]
        for point in listening.points("db.client.operation.duration")
    }
    assert len(labels) == 1001
    assert "_OTHER" in labels


def test_statements_without_end_take_no_memory_without_end(listening: Listening) -> None:
    telemetry = listening.telemetry(tracing=False)
    for number in range(1100):
        telemetry.begin("select", f"select 1 from t{number}", None).end()
    points = listening.points("db.client.operation.duration")
    assert len(points) == 1001
    assert "_OTHER" in {point.attributes["db.query.summary"] for point in points}


def test_a_transaction_is_a_span_and_a_duration_of_its_own(listening: Listening) -> None:
    metrics = Metrics()
    watched = listening.telemetry(metrics=metrics).begin("transaction", "", "acme")
    watched.end()
    (span,) = listening.spans()
    assert (span.name, span.kind) == ("transaction", SpanKind.INTERNAL)
    assert dict(span.attributes or {})["mtenant.tenant"] == "acme"
    (point,) = listening.points("mtenant.db.transaction.duration")
    assert point.count == 1
    assert listening.points("db.client.operation.duration") == []
    assert metrics.snapshot().transactions.count == 1
    assert metrics.snapshot().total_queries == 0


def test_tracing_can_be_switched_off_and_on(listening: Listening) -> None:
    telemetry = listening.telemetry(tracing=False)
    telemetry.begin("select", "select 1", None).end()
    assert listening.spans() == []
    telemetry.tracing = True
    telemetry.begin("select", "select 1", None).end()
    assert len(listening.spans()) == 1
    assert telemetry.metrics.snapshot().total_queries == 2


def test_an_observation_ends_once(listening: Listening) -> None:
    telemetry = listening.telemetry()
    seen = telemetry.begin("select", "select 1", None)
    assert seen.end() == seen.end(error=TimeoutError())
    assert telemetry.metrics.snapshot().total_queries == 1
    assert telemetry.metrics.snapshot().failed_queries == 0
    assert len(listening.spans()) == 1


def test_without_a_provider_there_is_no_span_and_all_is_counted() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    telemetry = Telemetry(Metrics(), CONFIG)
    seen = telemetry.begin("select", "select 1", "acme")
    assert seen._span is None
    assert seen.end() > 0
    assert telemetry.metrics.snapshot().total_queries == 1


@pytest.mark.anyio
async def test_a_provider_that_is_set_later_is_found(
    listening: Listening, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(place.config()) as db:
        await db.fetch_value("select 1")
        monkeypatch.setattr(
            trace, "_TRACER_PROVIDER", listening.tracers
        )  # what may be set once only
        await db.fetch_value("select 2")
    assert [span.name for span in listening.spans()] == ["SELECT"]


def test_one_of_several_hosts_is_not_named(listening: Listening) -> None:
    config = DatabaseConfig(url=Secret("postgresql://crm@a,b/crm"))
    listening.telemetry(config).begin("select", "select 1", None).end()
    assert "server.address" not in dict(listening.spans()[0].attributes or {})


def test_a_slow_statement_is_logged_without_values(caplog: pytest.LogCaptureFixture) -> None:
    config = DatabaseConfig(name="crm", slow_query_threshold=timedelta(0))
    telemetry = Telemetry(Metrics(), config)
    statement = "select 1 from contacts where email = 'ada@example.com' and id = %s"
    telemetry.begin("select", statement, "acme").end(rows=2)
    (record,) = caplog.records
    shown = "select ? from contacts where email = ? and id = %s"
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("slow statement, 0.0")
    assert record.getMessage().endswith(f" s, tenant acme: {shown}")
    extra = vars(record)
    assert (extra["tenant_id"], extra["rows"]) == ("acme", 2)
    assert (extra["db_summary"], extra["db_statement"]) == ("SELECT contacts", shown)
    assert extra["duration_ms"] >= 0


def test_a_fast_statement_and_a_transaction_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Telemetry(Metrics(), DatabaseConfig(name="crm")).begin("select", "select 1", None).end()
    config = DatabaseConfig(name="crm", slow_query_threshold=timedelta(0))
    Telemetry(Metrics(), config).begin("transaction", "", None).end()
    assert caplog.records == []


@pytest.mark.anyio
async def test_a_pools_numbers_are_the_conventions_metrics(
    listening: Listening, place: Any
) -> None:
    telemetry = listening.telemetry()
    pool = Pool(place.app, min_size=2, max_size=3, open=False, name="main", telemetry=telemetry)
    async with pool:
        await pool.wait()
        conns = [await pool.getconn() for _ in range(3)]
        with pytest.raises(psycopg.OperationalError):
            await pool.getconn(timeout=0.01)
        await pool.putconn(conns.pop())
        states = {
            point.attributes["db.client.connection.state"]: point.value
            for point in listening.points("db.client.connection.count")
        }
        assert states == {"idle": 1, "used": 2}
        values = {
            name: listening.points(f"db.client.connection.{name}")[0].value
            for name in ("max", "idle.max", "idle.min", "pending_requests", "timeouts")
        }
        assert values == {
            "max": 3,
            "idle.max": 3,
            "idle.min": 2,
            "pending_requests": 0,
            "timeouts": 1,
        }
        for name, count in (("create_time", 3), ("wait_time", 3), ("use_time", 1)):
            (point,) = listening.points(f"db.client.connection.{name}")
            assert point.count == count
            assert dict(point.attributes) == {"db.client.connection.pool.name": "main"}
        snapshot = telemetry.metrics.snapshot()
        assert (snapshot.total_connections, snapshot.active_connections) == (3, 2)
        await conns[0].execute("set search_path to tenant_other")
        await conns[0].commit()
        for conn in conns:
            await pool.putconn(conn)
        (point,) = listening.points("mtenant.db.connection.closed")
        assert (point.value, point.attributes["mtenant.reason"]) == (1, "leak")
    assert listening.points("db.client.connection.count") == [], "it is closed"


@pytest.mark.anyio
async def test_watching_keeps_no_pool_alive(listening: Listening, place: Any) -> None:
    telemetry = listening.telemetry()
    for _ in range(3):
        Pool(place.app, open=False, telemetry=telemetry)
        gc.collect()
    assert len(telemetry._pools) == 1


@pytest.mark.anyio
async def test_failed_connections_are_counted(eventually: Any) -> None:
    telemetry = Telemetry(Metrics(), CONFIG)
    url = "postgresql://app@127.0.0.1:1/app"
    async with Pool(url, min_size=1, open=False, telemetry=telemetry):
        await eventually(lambda: telemetry.metrics.snapshot().failed_connections)
    assert telemetry.metrics.snapshot().total_connections == 0
