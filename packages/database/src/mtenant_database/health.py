"""Whether the database answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from mtenant_database.breaker import State
from mtenant_database.cutoff import cut_off_after
from mtenant_database.dsn import read_dsn
from mtenant_database.metrics import PoolStats

if TYPE_CHECKING:
    from mtenant_database.metrics import Metrics
    from mtenant_database.pool import Pool

TIMEOUT: Final = 5.0
"""How long a health check may take, in seconds."""


@dataclass(frozen=True)
class HealthStatus:
    """What a health check found.

    Attributes:
        healthy: The database answered.
        response_time: How long the check took, with the wait for a connection.
        error: Why it is not healthy: one line without passwords; empty if it is.
        stats: The pool's numbers after the check.
        breaker: The state of the circuit breaker.
    """

    healthy: bool
    response_time: timedelta
    error: str
    stats: PoolStats
    breaker: State = "closed"

    def to_dict(self) -> dict[str, Any]:
        """Return the status for a health endpoint; the time is text, `2.5ms`."""
        milliseconds = self.response_time.total_seconds() * 1000
        status = {
            "healthy": self.healthy,
            "response_time": f"{milliseconds:.3g}ms",
            "stats": self.stats.to_dict(),
            "breaker": self.breaker,
        }
        return {**status, "error": self.error} if self.error else status


async def health_check(pool: Pool[Any], *, metrics: Metrics | None = None) -> HealthStatus:
    """Borrow a connection, ping, and run `SELECT 1`; within 5 s, and without an exception.

    A pool whose connections are all on loan for 5 s is not healthy either; the error says which it
    is.

    Args:
        pool: The pool to check; it may be closed.
        metrics: Where the check is counted.
    """
    begun = monotonic()
    # A task, and not a timeout around the call: cancelling a query waits for the server again.
    probe = asyncio.create_task(_probe(pool))
    probe.add_done_callback(_look_at)
    try:
        await asyncio.wait({probe}, timeout=TIMEOUT)
    finally:
        probe.cancel()
    if not probe.done() or probe.cancelled():
        error = f"no answer within {TIMEOUT:g} s"
    elif failure := probe.exception():
        error = _reason(pool, failure)
    else:
        error = ""
    status = HealthStatus(
        healthy=not error,
        response_time=timedelta(seconds=monotonic() - begun),
        error=error,
        stats=PoolStats.of(pool),
    )
    if metrics is not None:
        metrics.record_health_check(healthy=status.healthy)
    return status


async def is_healthy(pool: Pool[Any], *, metrics: Metrics | None = None) -> bool:
    """Tell whether the database answers within 5 s; never raises."""
    return (await health_check(pool, metrics=metrics)).healthy


async def _probe(pool: Pool[Any]) -> None:
    # A little less than the whole, so that the pool can say what is the matter.
    async with pool.connection(timeout=0.9 * TIMEOUT) as conn:
        with cut_off_after(TIMEOUT, conn):
            await pool.check_connection(conn)
            await conn.execute("select 1")


def _look_at(probe: asyncio.Task[None]) -> None:
    # One that was given up may still fail; asyncio would log that nobody looked.
    if not probe.cancelled():
        probe.exception()


def _reason(pool: Pool[Any], failure: BaseException) -> str:
    lines = str(failure).strip().splitlines() or [type(failure).__name__]
    parameters = read_dsn(pool.conninfo) if isinstance(pool.conninfo, str) else None
    password = (parameters or {}).get("password")
    return lines[0].replace(password, "***") if password else lines[0]
