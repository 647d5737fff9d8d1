"""What a tenant costs: a scoped read of one row over 100 tenants, beside the peers' safe ways.

    python tests/benchmarks/bench_database.py

Safe means that the tenant ends with the transaction: BEGIN, SET LOCAL search_path, the query and
COMMIT. Ours also fails closed, in one round trip. The floor is psycopg's own pool without any
tenant. Every side has a pool of ten connections; work is done one at a time, and sixteen at a time.

PostgreSQL is started for it, or $DATABASE_URL names a superuser's database.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
from harness import Bound, Case, Comparison, report
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig
from mtenant_devstack import Stack

TENANTS = 100
CONNECTIONS = 10
OURS = "mtenant, tenant-scoped"
UNTENANTED = "mtenant, no tenant"
ASYNCPG = "asyncpg, SET LOCAL"
SQLALCHEMY = "SQLAlchemy async, SET LOCAL"
FLOOR = "psycopg's pool, no tenant"

Once = Callable[[int], Awaitable[object]]


def _prepare(superuser: str) -> str:
    name = f"bench_{os.getpid()}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f"create role {name} login".encode())
        conn.execute(f"create database {name} owner {name}".encode())
    parts = urlsplit(superuser)
    place = parts._replace(netloc=f"{name}@{parts.hostname}:{parts.port}", path=f"/{name}")
    with psycopg.connect(place.geturl()) as conn:
        for number in range(TENANTS):
            conn.execute(
                f"create schema tenant_t{number};"
                f" create table tenant_t{number}.contacts (id int primary key, name text);"
                f" insert into tenant_t{number}.contacts select n, 'c' || n"
                " from generate_series(1, 100) n".encode()
            )
    return place.geturl()


async def _open(url: str, stack: AsyncExitStack) -> dict[str, Once]:
    config = DatabaseConfig(url=Secret(url), max_open_conns=CONNECTIONS, max_idle_conns=CONNECTIONS)
    db = await stack.enter_async_context(Database(config))
    floor = await stack.enter_async_context(
        AsyncConnectionPool(url, min_size=CONNECTIONS, kwargs={"autocommit": True}, open=False)
    )
    await floor.wait()
    peer: Any = await stack.enter_async_context(
        asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    )
    engine = create_async_engine(
        url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=CONNECTIONS, max_overflow=0
    )
    stack.push_async_callback(engine.dispose)
    handles = [db.tenant(f"t{number}") for number in range(TENANTS)]
    qualified = "select id, name from tenant_t7.contacts where id = %s"

    async def ours(n: int) -> object:
        handle = handles[n % TENANTS]
        return await handle.fetch_one("select id, name from contacts where id = %s", [n % 100 + 1])

    async def untenanted(n: int) -> object:
        return await db.fetch_one(qualified, [n % 100 + 1])

    async def of_psycopg(n: int) -> object:
        async with floor.connection() as conn:
            return await (await conn.execute(qualified, [n % 100 + 1])).fetchone()

    async def of_asyncpg(n: int) -> object:
        async with peer.acquire() as conn, conn.transaction():
            await conn.execute(f"set local search_path to tenant_t{n % TENANTS}")
            return await conn.fetchrow("select id, name from contacts where id = $1", n % 100 + 1)

    statement = text("select id, name from contacts where id = :id")

    async def of_sqlalchemy(n: int) -> object:
        async with engine.connect() as conn, conn.begin():
            await conn.execute(text(f"set local search_path to tenant_t{n % TENANTS}"))
            return (await conn.execute(statement, {"id": n % 100 + 1})).one()

    return {
        OURS: ours,
        UNTENANTED: untenanted,
        FLOOR: of_psycopg,
        ASYNCPG: of_asyncpg,
        SQLALCHEMY: of_sqlalchemy,
    }


def _case(runner: asyncio.Runner, name: str, once: Once, at_once: int) -> Case:
    async def worker(numbers: range) -> None:
        for number in numbers:
            await once(number)

    async def all_of_it(n: int) -> None:
        if at_once == 1:
            await worker(range(n))
            return
        async with asyncio.TaskGroup() as group:
            for first in range(at_once):
                group.create_task(worker(range(first, n, at_once)))

    return Case(name, lambda n: runner.run(all_of_it(n)))


def _comparison(
    runner: asyncio.Runner, work: dict[str, Once], at_once: int, bounds: list[Bound]
) -> Comparison:
    cases = [_case(runner, name, once, at_once) for name, once in work.items()]
    title = f"database: one row of one of {TENANTS} tenants, {at_once} at a time"
    return Comparison(title, cases, bounds, rounds=15, seconds_a_turn=0.1)


def main() -> int:
    """Run it all; the bounds are the promises of the package."""
    given = os.environ.get("DATABASE_URL")
    with Stack([] if given else ["postgres"]) as servers, asyncio.Runner() as runner:
        url = _prepare(given or servers.postgres.url)
        stack = AsyncExitStack()
        work = runner.run(_open(url, stack))
        try:
            return report(
                "database",
                [
                    _comparison(
                        runner,
                        work,
                        1,
                        [
                            Bound(OURS, ASYNCPG, 1 / 2.3),
                            Bound(OURS, SQLALCHEMY, 1 / 3.0),
                            Bound(OURS, FLOOR, 1 / 0.6),
                            Bound(UNTENANTED, FLOOR, 1 / 0.9),
                        ],
                    ),
                    _comparison(
                        runner,
                        work,
                        16,
                        [
                            Bound(OURS, ASYNCPG, 1 / 1.3),
                            Bound(OURS, SQLALCHEMY, 1 / 3.5),
                            Bound(OURS, FLOOR, 1 / 0.6),
                            Bound(UNTENANTED, FLOOR, 1 / 0.9),
                        ],
                    ),
                ],
            )
        finally:
            runner.run(stack.aclose())


if __name__ == "__main__":
    sys.exit(main())
