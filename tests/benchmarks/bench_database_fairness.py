"""What a flooding tenant costs another one: its slowest statements in a hundred, alone and beside the flood.

    python tests/benchmarks/bench_database_fairness.py

Both tenants share a pool of ten connections. A statement takes 5 ms at the server, as one with some work
does. The quiet tenant sends one after the other; the flood is 200 at any time. Without turns (as many
places as requests) the quiet one stands in one queue with all of them. A case's time is the 99th percentile.

PostgreSQL is started for it, or $DATABASE_URL names a superuser's database.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from urllib.parse import urlsplit

import psycopg
from harness import Bound, Case, Comparison, report

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig
from mtenant_devstack import Stack

CONNECTIONS, FLOOD, STATEMENTS = 10, 200, 150
WORK = "select pg_sleep(0.005)"
ALONE, TURNS, QUEUE = "alone", "beside a flood, taking turns", "beside a flood, in one queue"


def prepare(superuser: str) -> str:
    """Make a database with two tenants, and return its URL for a role that is no superuser."""
    name = f"bench_fairness_{os.getpid()}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f"create role {name} login".encode())
        conn.execute(f"create database {name} owner {name}".encode())
    parts = urlsplit(superuser)
    place = parts._replace(netloc=f"{name}@{parts.hostname}:{parts.port}", path=f"/{name}").geturl()
    with psycopg.connect(place) as conn:
        conn.execute("create schema tenant_quiet; create schema tenant_loud")
    return place


async def percentile(db: Database, flood: int) -> float:
    """Return the quiet tenant's 99th percentile in seconds, with so many statements of the other one."""

    async def keep_on() -> None:
        while True:
            await db.tenant("loud").fetch_value(WORK)

    loud = [asyncio.create_task(keep_on()) for _ in range(flood)]
    quiet, times = db.tenant("quiet"), []
    await quiet.fetch_value(WORK)
    for _ in range(STATEMENTS):
        begun = time.perf_counter()
        await quiet.fetch_value(WORK)
        times.append(time.perf_counter() - begun)
    for task in loud:
        task.cancel()
    await asyncio.gather(*loud, return_exceptions=True)
    return statistics.quantiles(times, n=100)[98]


class Percentiles(Comparison):
    """A comparison whose cases return what they measured."""

    def run(self) -> bool:
        """Measure every case in each round, print, and tell whether all bounds were met."""
        samples = {
            case.name: [float(str(case.run(1))) for _ in range(self.rounds)] for case in self.cases
        }
        self.per_call = {name: statistics.median(times) for name, times in samples.items()}
        self.ratios = {
            bound: [
                mine / theirs
                for mine, theirs in zip(samples[bound.subject], samples[bound.peer], strict=True)
            ]
            for bound in self.bounds
        }
        self._print()
        slower = self.per_call[QUEUE] / self.per_call[ALONE]
        print(f"  {QUEUE} / {ALONE}: {slower:.1f}, for comparison")
        return all(self.met(bound) for bound in self.bounds)


def main() -> int:
    """Compare, and tell by the exit status whether the promise was kept."""
    given = os.environ.get("DATABASE_URL")
    with Stack(() if given else ("postgres",)) as stack, asyncio.Runner() as runner:
        url = prepare(given or stack.postgres.url)

        async def measure(flood: int, places: int) -> float:
            config = DatabaseConfig(
                url=Secret(url), max_open_conns=CONNECTIONS, max_idle_conns=CONNECTIONS
            )
            async with Database(config) as db:
                db.admission.places = places
                return await percentile(db, flood)

        comparison = Percentiles(
            "database: a quiet tenant's 99th percentile",
            [
                Case(ALONE, lambda _: runner.run(measure(0, CONNECTIONS))),
                Case(TURNS, lambda _: runner.run(measure(FLOOD, CONNECTIONS))),
                Case(QUEUE, lambda _: runner.run(measure(FLOOD, 10 * FLOOD))),
            ],
            [Bound(TURNS, ALONE, 2.0)],
            rounds=3,
        )
        return report("database_fairness", [comparison])


if __name__ == "__main__":
    sys.exit(main())
