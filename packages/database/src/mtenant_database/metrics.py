"""Counters of a database's work in this process, and what a pool's numbers are called."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from mtenant_database.pool import Pool

Operation = Literal["select", "exec", "begin", "commit", "rollback"]

BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Upper bounds of a histogram's buckets in seconds (OpenTelemetry semantic conventions, 1.44,
`db.client.operation.duration`); a last bucket takes the rest."""

_DRAWN: Final = 8


@dataclass(slots=True)
class Histogram:
    """How often, how long in all, and how the times are distributed.

    Attributes:
        count: How many there were.
        seconds: Their sum.
        counts: How many were within each of `BUCKETS`, and how many above them.
    """

    count: int = 0
    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds += seconds
        self.counts[bisect_left(BUCKETS, seconds)] += 1

    def merge(self, other: Histogram) -> None:
        """Count all of another."""
        self.count += other.count
        self.seconds += other.seconds
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]

    def copy(self) -> Histogram:
        """Return a copy that does not change."""
        return Histogram(self.count, self.seconds, list(self.counts))


@dataclass(slots=True)
class TenantUsage:
    """What one tenant used.

    Attributes:
        tenant: Its id; None for all those together that are not told apart any more.
        queries: The statements it ran, and their time.
        waits: The times it waited to be admitted.
        errors: How many of its statements failed.
    """

    tenant: str | None
    queries: Histogram = field(default_factory=Histogram)
    waits: Histogram = field(default_factory=Histogram)
    errors: int = 0

    def copy(self) -> TenantUsage:
        """Return a copy that does not change."""
        return TenantUsage(self.tenant, self.queries.copy(), self.waits.copy(), self.errors)


@dataclass(frozen=True)
class MetricsSnapshot:
    """The counters at one moment.

    Attributes:
        total_connections: Connections that were made.
        failed_connections: Attempts to make one that failed.
        active_connections: Connections that are lent at this moment.
        total_queries: Statements of users, failed ones too.
        failed_queries: Those that failed.
        query_duration: Time of all statements, in nanoseconds.
        health_checks: Health checks that were made.
        failed_health_checks: Those that found the database unhealthy.
        last_health_check: When the last one was, as a Unix time; 0 if there was none.
        query_errors: Errors by operation: begin, commit, rollback, select, exec.
        transactions: Transactions, from BEGIN to their end, and their time.
        breaker_opened: How often the circuit breaker has opened.
    """

    total_connections: int
    failed_connections: int
    active_connections: int
    total_queries: int
    failed_queries: int
    query_duration: int
    health_checks: int
    failed_health_checks: int
    last_health_check: int
    query_errors: dict[Operation, int]
    transactions: Histogram
    breaker_opened: int = 0

    def to_dict(self) -> dict[str, int | float]:
        """Return one number for each name of an exposition, such as `database_queries_total`."""
        errors = {
            f"database_query_errors_{operation}": count
            for operation, count in self.query_errors.items()
        }
        return {
            "database_connections_total": self.total_connections,
            "database_connections_failed": self.failed_connections,
            "database_connections_active": self.active_connections,
            "database_queries_total": self.total_queries,
            "database_queries_failed": self.failed_queries,
            "database_query_duration_ns": self.query_duration,
            "database_health_checks_total": self.health_checks,
            "database_health_checks_failed": self.failed_health_checks,
            "database_last_health_check": self.last_health_check,
            "database_breaker_opened_total": self.breaker_opened,
            "database_transactions_total": self.transactions.count,
            "database_transaction_duration_seconds": self.transactions.seconds,
            **errors,
        }


class Metrics:
    """Counts what a database does; safe to use from every thread.

    With `tenants`, it also keeps a histogram for each of so many tenants. When there are more, one
    makes room: the one that took the least time of eight drawn at random, so that those who use
    the most stay. What it used is added to that of the others, so that the sums stay right.

    Args:
        tenants: How many tenants are told apart; 0: none.

    >>> metrics = Metrics(tenants=1000)
    >>> metrics.record_query("select", 0.25, tenant="acme")
    >>> metrics.snapshot().total_queries, metrics.top_tenants(by="time")[0].tenant
    (1, 'acme')
    """

    def __init__(self, *, tenants: int = 0) -> None:
        self.max_tenants = tenants
        self._lock = threading.Lock()
        self._connections = self._failed_connections = self._active = 0
        self._queries = self._failed_queries = 0
        self._query_seconds = 0.0
        self._errors: dict[Operation, int] = dict.fromkeys(
            ("begin", "commit", "rollback", "select", "exec"), 0
        )
        self._checks = self._failed_checks = self._last_check = 0
        self._transactions = Histogram()
        self._breaker_opened = 0
        self._tenants: dict[str, TenantUsage] = {}
        self._order: list[str] = []
        self._others = TenantUsage(None)

    def record_connection(self, *, failed: bool = False) -> None:
        """Count an attempt to connect."""
        with self._lock:
            if failed:
                self._failed_connections += 1
            else:
                self._connections += 1

    def record_active(self, change: int) -> None:
        """Count connections that were lent (1) or came back (-1)."""
        with self._lock:
            self._active += change

    def record_query(
        self,
        operation: Operation,
        seconds: float,
        *,
        failed: bool = False,
        tenant: str | None = None,
    ) -> None:
        """Count a statement. BEGIN, COMMIT and ROLLBACK count only where they fail."""
        with self._lock:
            if failed:
                self._errors[operation] += 1
            if operation in {"begin", "commit", "rollback"}:
                return
            self._queries += 1
            self._failed_queries += failed
            self._query_seconds += seconds
            if tenant is not None and self.max_tenants:
                usage = self._usage(tenant)
                usage.queries.add(seconds)
                usage.errors += failed

    def record_wait(self, seconds: float, *, tenant: str) -> None:
        """Count a wait of a tenant to be admitted."""
        with self._lock:
            if self.max_tenants:
                self._usage(tenant).waits.add(seconds)

    def record_transaction(self, seconds: float) -> None:
        """Count a transaction that has ended, one way or the other."""
        with self._lock:
            self._transactions.add(seconds)

    def record_breaker_opened(self) -> None:
        """Count that the circuit breaker has opened."""
        with self._lock:
            self._breaker_opened += 1

    def record_health_check(self, *, healthy: bool) -> None:
        """Count a health check."""
        with self._lock:
            self._checks += 1
            self._failed_checks += not healthy
            self._last_check = int(time.time())

    def snapshot(self) -> MetricsSnapshot:
        """Return all counters, as they were at one moment."""
        with self._lock:
            return MetricsSnapshot(
                total_connections=self._connections,
                failed_connections=self._failed_connections,
                active_connections=self._active,
                total_queries=self._queries,
                failed_queries=self._failed_queries,
                query_duration=round(self._query_seconds * 1e9),
                health_checks=self._checks,
                failed_health_checks=self._failed_checks,
                last_health_check=self._last_check,
                query_errors=dict(self._errors),
                transactions=self._transactions.copy(),
                breaker_opened=self._breaker_opened,
            )

    def tenants(self) -> list[TenantUsage]:
        """Return what each tenant used, and last, under None, what the others did together."""
        with self._lock:
            return [usage.copy() for usage in (*self._tenants.values(), self._others)]

    def top_tenants(
        self, n: int = 10, *, by: Literal["time", "waits", "errors"]
    ) -> list[TenantUsage]:
        """Return the tenants that used the most, the first one first.

        Args:
            n: At most how many.
            by: Time of their statements, time that they waited, or number of errors.
        """
        key = {"time": _time, "waits": _waits, "errors": _errors}[by]
        named = [usage for usage in self.tenants() if usage.tenant is not None and key(usage)]
        return sorted(named, key=key, reverse=True)[:n]

    def _usage(self, tenant: str) -> TenantUsage:
        usage = self._tenants.get(tenant)
        if usage is None:
            if len(self._order) >= self.max_tenants:
                self._make_room()
            usage = self._tenants[tenant] = TenantUsage(tenant)
            self._order.append(tenant)
        return usage

    def _make_room(self) -> None:
        drawn = [random.randrange(len(self._order)) for _ in range(_DRAWN)]  # noqa: S311 -- no secret
        place = min(drawn, key=lambda at: _time(self._tenants[self._order[at]]))
        usage = self._tenants.pop(self._order[place])
        self._order[place] = self._order[-1]
        self._order.pop()
        self._others.queries.merge(usage.queries)
        self._others.waits.merge(usage.waits)
        self._others.errors += usage.errors


def _time(usage: TenantUsage) -> float:
    return usage.queries.seconds


def _waits(usage: TenantUsage) -> float:
    return usage.waits.seconds


def _errors(usage: TenantUsage) -> float:
    return usage.errors


@dataclass(frozen=True)
class PoolStats:
    """A pool's numbers at one moment.

    Attributes:
        max_open_connections: Its greatest size.
        open_connections: Connections there are, or that are being made.
        in_use: Those that are lent.
        idle: Those that lie in the pool.
        wait_count: Requests that had to wait, since the pool was opened.
        wait_duration: How long they waited in all, in seconds.
        max_idle_closed: Always 0: an unused connection is closed for its idle time only.
        max_idle_time_closed: Connections closed because they were not used.
        max_lifetime_closed: Connections closed because of their age.
    """

    max_open_connections: int
    open_connections: int
    in_use: int
    idle: int
    wait_count: int
    wait_duration: float
    max_idle_closed: int
    max_idle_time_closed: int
    max_lifetime_closed: int

    @classmethod
    def of(cls, pool: Pool[Any]) -> PoolStats:
        """Return the numbers of a pool."""
        stats = pool.get_stats()
        return cls(
            max_open_connections=stats["pool_max"],
            open_connections=stats["pool_size"],
            in_use=stats["pool_used"],
            idle=stats["pool_available"],
            wait_count=stats.get("requests_queued", 0),
            wait_duration=stats.get("requests_wait_ms", 0) / 1000,
            max_idle_closed=0,
            max_idle_time_closed=stats.get("closed_idle", 0),
            max_lifetime_closed=stats.get("closed_lifetime", 0),
        )

    def to_dict(self) -> dict[str, int | str]:
        """Return the numbers for a health endpoint; the duration is text, `1.25s`.

        Four of them also have a second name: `max_conns`, `total_conns`, `idle_conns` and
        `acquired_conns`.
        """
        return {
            **asdict(self),
            "wait_duration": f"{self.wait_duration:g}s",
            "max_conns": self.max_open_connections,
            "total_conns": self.open_connections,
            "idle_conns": self.idle,
            "acquired_conns": self.in_use,
        }
