from __future__ import annotations

import json
import random
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.metrics import BUCKETS, Histogram, Metrics, Operation, PoolStats
from mtenant_database.pool import Pool


def test_a_new_counter_is_zero() -> None:
    values = Metrics().snapshot().to_dict()
    assert set(values.values()) == {0}
    assert set(values) >= {
        "database_connections_total",
        "database_connections_failed",
        "database_connections_active",
        "database_queries_total",
        "database_queries_failed",
        "database_query_duration_ns",
        "database_health_checks_total",
        "database_health_checks_failed",
        "database_last_health_check",
    }


def test_statements_are_counted_with_their_time_and_errors_by_operation() -> None:
    metrics = Metrics()
    metrics.record_query("select", 0.25)
    metrics.record_query("exec", 0.5, failed=True)
    operations: tuple[Operation, ...] = ("begin", "commit", "rollback")
    for operation in operations:
        metrics.record_query(operation, 0.1)
        metrics.record_query(operation, 0.1, failed=True)
    snapshot = metrics.snapshot()
    assert (snapshot.total_queries, snapshot.failed_queries) == (2, 1)
    assert snapshot.query_duration == 750_000_000
    assert snapshot.query_errors == {
        "begin": 1,
        "commit": 1,
        "rollback": 1,
        "select": 0,
        "exec": 1,
    }


def test_connections_and_transactions_and_checks_are_counted() -> None:
    metrics = Metrics()
    metrics.record_connection()
    metrics.record_connection(failed=True)
    metrics.record_active(2)
    metrics.record_active(-1)
    metrics.record_transaction(0.02)
    metrics.record_health_check(healthy=False)
    snapshot = metrics.snapshot()
    assert (snapshot.total_connections, snapshot.failed_connections) == (1, 1)
    assert snapshot.active_connections == 1
    assert (snapshot.transactions.count, snapshot.transactions.seconds) == (1, 0.02)
    assert (snapshot.health_checks, snapshot.failed_health_checks) == (1, 1)
    assert snapshot.to_dict()["database_transaction_duration_seconds"] == 0.02


def test_a_snapshot_does_not_change() -> None:
    metrics = Metrics(tenants=1)
    metrics.record_query("select", 1, tenant="acme")
    metrics.record_transaction(1)
    before, tenants = metrics.snapshot(), metrics.tenants()
    metrics.record_query("select", 1, failed=True, tenant="acme")
    metrics.record_transaction(1)
    assert before.transactions.count == 1
    assert before.query_errors["select"] == 0
    assert tenants[0].queries.count == 1


def test_no_count_is_lost_between_threads() -> None:
    metrics = Metrics(tenants=3)

    def work() -> None:
        for number in range(2000):
            metrics.record_query("select", 0.5, failed=True, tenant=f"t{number % 5}")
            metrics.record_active(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = metrics.snapshot()
    assert snapshot.total_queries == snapshot.failed_queries == 8000
    assert snapshot.active_connections == snapshot.query_errors["select"] == 8000
    assert sum(usage.queries.count for usage in metrics.tenants()) == 8000
    assert sum(usage.errors for usage in metrics.tenants()) == 8000


@given(st.lists(st.floats(0, 20)))
def test_a_histogram_has_each_time_in_the_bucket_that_it_fits(times: list[float]) -> None:
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    assert histogram.count == sum(histogram.counts) == len(times)
    assert histogram.seconds == pytest.approx(sum(times))
    for place, bound in enumerate(BUCKETS):
        assert sum(histogram.counts[: place + 1]) == sum(seconds <= bound for seconds in times)


def test_tenants_are_told_apart_only_when_asked_for() -> None:
    metrics = Metrics()
    metrics.record_query("select", 1, tenant="acme")
    metrics.record_wait(1, tenant="acme")
    assert [usage.tenant for usage in metrics.tenants()] == [None]
    assert metrics.top_tenants(by="time") == []


def test_the_tenants_that_use_the_most_come_first() -> None:
    metrics = Metrics(tenants=10)
    metrics.record_query("select", 5, tenant="slow")
    metrics.record_query("exec", 1, tenant="failing", failed=True)
    metrics.record_wait(3, tenant="waiting")
    assert [usage.tenant for usage in metrics.top_tenants(by="time")] == ["slow", "failing"]
    assert [usage.tenant for usage in metrics.top_tenants(by="waits")] == ["waiting"]
    assert [usage.tenant for usage in metrics.top_tenants(by="errors")] == ["failing"]
    assert [usage.tenant for usage in metrics.top_tenants(1, by="time")] == ["slow"]


def test_ten_thousand_tenants_take_the_room_of_a_hundred_and_the_heavy_ones_stay() -> None:
    draw = random.Random(7)
    metrics = Metrics(tenants=100)
    names = [f"t{number}" for number in range(10_000)]
    for number in range(30_000):
        metrics.record_query("select", 0.001, tenant=draw.choice(names))
        if number % 10 == 0:
            metrics.record_query("select", 1, tenant=f"heavy{number % 50}")
    usages = metrics.tenants()
    assert len(usages) == 101
    assert sum(usage.queries.count for usage in usages) == 33_000
    heavy = {usage.tenant for usage in metrics.top_tenants(5, by="time")}
    assert heavy == {f"heavy{number}" for number in (0, 10, 20, 30, 40)}


@pytest.mark.anyio
async def test_a_pools_numbers_have_both_sets_of_names(place: Any) -> None:
    pool = Pool(place.app, min_size=2, max_size=3, open=False)
    async with pool:
        await pool.wait()
        async with pool.connection():
            numbers = PoolStats.of(pool).to_dict()
    assert json.loads(json.dumps(numbers)) == {
        "max_open_connections": 3,
        "open_connections": 2,
        "in_use": 1,
        "idle": 1,
        "wait_count": 0,
        "wait_duration": "0s",
        "max_idle_closed": 0,
        "max_idle_time_closed": 0,
        "max_lifetime_closed": 0,
        "max_conns": 3,
        "total_conns": 2,
        "idle_conns": 1,
        "acquired_conns": 1,
    }
