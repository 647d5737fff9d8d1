"""psycopg's exceptions, as those of this package: translated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from mtenant_events.store.errors import OutboxNotInstalled, OutboxUnavailable


@contextmanager
def translated() -> Iterator[None]:
    """Raise this package's errors for psycopg's, which may quote a row.

    Raises:
        OutboxNotInstalled: A table is not there, or the role may not use it.
        OutboxUnavailable: Anything else; it may be tried again.
    """
    try:
        yield
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege) as exc:
        raise OutboxNotInstalled(
            internal=f"{exc.diag.message_primary}: run `mtenant-events outbox install`, or"
            " `mtenant-db migrate up` with the files of `mtenant-events outbox files`"
        ) from exc
    except psycopg.Error as exc:
        raise OutboxUnavailable(internal=exc.diag.message_primary or str(exc)) from exc
