"""For tests: a database that only records, a tenant's schema for one test, and a search for leaks.

`RecordingDatabase` passes the same contract tests as `Database`: the same errors for the same
mistakes. It understands no SQL; what statements answer is said beforehand.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Identifier

from mtenant_database.abc import TenantSource
from mtenant_database.database import Database
from mtenant_database.recording import (
    Recorded,
    RecordingDatabase,
    RecordingHandle,
    RecordingTenant,
    RecordingTransaction,
)
from mtenant_database.tenant_id import schema_of

__all__ = [
    "Recorded",
    "RecordingDatabase",
    "RecordingHandle",
    "RecordingTenant",
    "RecordingTransaction",
    "TenantLeak",
    "tenant_leak_fuzz",
    "tenant_schema",
]


@asynccontextmanager
async def tenant_schema(
    owner: str, *statements: str, grant_to: str | None = None
) -> AsyncIterator[str]:
    """Make a tenant for one test, with a new id and a schema of its own, and drop it afterwards.

    ```python
    @pytest.fixture
    async def acme(db: Database) -> AsyncIterator[Tenant]:
        async with tenant_schema(OWNER_URL, CONTACTS_SQL, grant_to="app") as tenant:
            yield db.tenant(tenant)
    ```

    Args:
        owner: The connection string of a role that may create schemas.
        *statements: The schema's contents; each may hold several statements.
        grant_to: The role that the program connects as, if it is another one.
    """
    tenant = uuid.uuid4().hex
    schema = Identifier(schema_of(tenant))
    async with await AsyncConnection.connect(owner, autocommit=True) as conn:
        async with conn.transaction():
            # Nobody needs this schema after a crash, and the flush to disk is most of the time.
            await conn.execute("set local synchronous_commit to off")
            await conn.execute(SQL("create schema {}").format(schema))
            await conn.execute(SQL("set local search_path to {}, pg_temp").format(schema))
            for statement in statements:
                await conn.execute(statement.encode())
            if grant_to is not None:
                await _grant(conn, schema, Identifier(grant_to))
        try:
            yield tenant
        finally:
            await conn.execute(SQL("drop schema {} cascade").format(schema))


async def _grant(conn: AsyncConnection[Any], schema: Identifier, role: Identifier) -> None:
    await conn.execute(SQL("grant usage on schema {} to {}").format(schema, role))
    for things in ("tables", "sequences"):
        await conn.execute(
            SQL("grant all on all {} in schema {} to {}").format(SQL(things), schema, role)
        )


H = TypeVar("H")


class TenantLeak(AssertionError):
    """What one tenant was answered holds the mark of another."""


_TURNS: Final = 40
_DEADLINE: Final = 30.0


async def tenant_leak_fuzz(
    database: TenantSource[H],
    marks: Mapping[str, str],
    actions: Sequence[Callable[[H], Awaitable[Any]]],
    *,
    rounds: int = 200,
    at_once: int = 4,
    seed: int = 0,
) -> None:
    """Run your code for several tenants at once, cancel it at random, and look for each other's rows.

    Give tenants rows with equal primary keys, and each a text of its own in them, its mark. Every
    action is called with a handle, and what it returns may show the mark of that tenant only. An action
    may fail; that is no leak. Afterwards every connection of a `Database` is back, and idle.

    Args:
        database: A connected `Database`; or whatever else has `tenant(id)`, and what that returns is
            what actions are called with: a session of SQLAlchemy, a connection of asyncpg.
        marks: The mark of each tenant.
        actions: Your code: `async def list_contacts(tenant): ...`.
        rounds: How often.
        at_once: How many actions run at the same time.
        seed: Chooses what happens; the same one again, the same choices.

    Raises:
        TenantLeak: With the seed and the round.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    for number in range(rounds):
        drawn = [(chance.choice(list(marks)), chance.choice(actions)) for _ in range(at_once)]
        tasks = [asyncio.ensure_future(action(database.tenant(tenant))) for tenant, action in drawn]
        if chance.random() < 0.5:
            for _ in range(chance.randrange(_TURNS)):
                await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        await asyncio.wait(tasks, timeout=_DEADLINE)
        for (tenant, action), task in zip(drawn, tasks, strict=True):
            told = "" if task.cancelled() or task.exception() else repr(task.result())
            foreign = [name for name, mark in marks.items() if name != tenant and mark in told]
            if foreign:
                raise TenantLeak(
                    f"seed {seed}, round {number}: {action} for {tenant} returned rows of {foreign}"
                )
        if isinstance(database, Database):
            _check_connections(database, f"seed {seed}, round {number}")


def _check_connections(database: Database, where: str) -> None:
    if database._engine.lent:
        raise TenantLeak(f"{where}: {database._engine.lent} connections did not come back")
    for conn in database.pool._pool:
        if conn.pgconn.transaction_status not in {
            TransactionStatus.IDLE,
            TransactionStatus.UNKNOWN,
        }:
            raise TenantLeak(f"{where}: a connection came back inside a transaction")
