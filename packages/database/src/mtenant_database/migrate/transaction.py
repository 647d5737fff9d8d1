"""A transaction of the migrator that runs no file: on the registry, on grants, on whole schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from psycopg import sql

from mtenant_database.migrate import preamble
from mtenant_database.migrate.errors import NotInstalled
from mtenant_database.migrate.ledger import Place
from mtenant_database.migrate.link import Link, ScriptFailed, text_of
from mtenant_database.migrate.patience import Again, patiently
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.work import ABSENT, check_lock, check_role

T = TypeVar("T")


async def in_transaction(
    link: Link,
    settings: MigrateSettings,
    action: Callable[[Link], Awaitable[T]],
    *,
    lock: Place | None = None,
    durable: bool = True,
) -> T:
    """Do something in a transaction as the owner, again while locks stand in its way.

    Args:
        link: The connection.
        settings: Whose role, and how long a statement waits for a lock.
        action: What to do; it may be called several times.
        lock: Take the lock of this schema first.
        durable: Whether the commit has to reach the disk.

    Raises:
        NotInstalled: A table of the registry is not there.
        OwnerUnsafe: It would run as a superuser.
        SchemaBusy: The lock was not to be had.
        MigrationFailed: The server refused a statement.
    """
    where = "the schema shared" if lock is None else str(lock)

    async def attempt() -> T:
        async with _transaction(link, settings, lock, where, durable=durable):
            return await action(link)

    return await patiently(attempt, settings, where)


@asynccontextmanager
async def _transaction(
    link: Link, settings: MigrateSettings, lock: Place | None, where: str, *, durable: bool
) -> AsyncIterator[None]:
    try:
        said = [preamble.begin(settings, "pg_catalog", durable=durable)]
        if lock is not None:
            said.append(preamble.try_lock(lock.schema))
        results = await link.run("".join(part.as_string() for part in said))
        check_role(link, settings)
        if lock is not None:
            check_lock(results[-1])
        yield
        await link.run(preamble.COMMIT)
    except ScriptFailed as exc:
        await link.rollback()
        if exc.sqlstate in ABSENT:
            raise NotInstalled(where=where) from exc.error
        err = exc.explain(where)
        raise (Again(err) if exc.transient or exc.lost else err) from exc.error
    except Exception:
        await link.rollback()
        raise
    except BaseException:
        await link.close()
        raise


async def first_value(link: Link, statement: sql.Composable) -> str | None:
    """Run a statement and return its first value as text."""
    return text_of((await link.run(statement.as_string()))[-1])
