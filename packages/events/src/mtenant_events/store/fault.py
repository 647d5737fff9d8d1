"""psycopg's exceptions, as those of this package: translated here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
from psycopg import errors

from mtenant_events.store.errors import OutboxNotInstalled, OutboxUnavailable

ANSWER_TIMEOUT: Final = 30.0
"""Seconds for what takes milliseconds. A server that has vanished from the network says nothing at all."""


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise this package's errors for psycopg's, and bound the time that it takes.

    Raises:
        OutboxNotInstalled: A table is not there, or the role may not use it.
        OutboxUnavailable: Anything else; it may be tried again.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            yield
    except TimeoutError as exc:
        raise OutboxUnavailable(internal="the database does not answer") from exc
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege) as exc:
        raise OutboxNotInstalled(
            internal=f"{exc.diag.message_primary}: run `mtenant-events outbox install`, or"
            " `mtenant-db migrate up` with the files of `mtenant-events outbox files`"
        ) from exc
    except psycopg.Error as exc:
        raise OutboxUnavailable(internal=exc.diag.message_primary or str(exc)) from exc
