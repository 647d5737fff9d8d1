"""Tenants for SQLAlchemy: a session whose every transaction begins with the scope. Extra `[sqlalchemy]`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from mtenant_database.errors import TenantNotFound, TenantSuspended
from mtenant_database.scope import MISSING_SCHEMA, NO_ROLE, NO_USAGE, NOT_A_MEMBER, scope
from mtenant_errors import AppError

_PLACEHOLDER: Final = re.compile(r"\$(\d)")


@asynccontextmanager
async def tenant_session(
    engine: AsyncEngine,
    tenant: str,
    *,
    timeout: float = 30.0,  # noqa: ASYNC109 -- the server keeps it
    role: bool = False,
    **options: Any,
) -> AsyncIterator[AsyncSession]:
    """Open a session that sees one tenant and nothing else, and close it at the end.

    ```python
    async with tenant_session(engine, "acme") as session, session.begin():
        session.add(Contact(name="Ada"))
    ```

    The scope is sent with each transaction that the session begins, also after a `commit()` inside the
    block, and ends with it. Tables are mapped without a schema. One that a program names itself
    (`schema="tenant_other"`) is out of its reach with `role=True` only.

    Args:
        engine: Of asyncpg or psycopg. With asyncpg and tenants that have types of their own, give it
            `prepared_statement_cache_size=0`.
        tenant: The tenant's id.
        timeout: `statement_timeout` in seconds; 0: none.
        role: Whether to become the role `tenant_<id>`, too.
        **options: For `AsyncSession`.

    Raises:
        InvalidTenantId: The id does not match the grammar.
        TenantNotFound: From the first statement: there is no such schema.
        TenantSuspended: Likewise: the role may not use it.
        ValueError: Likewise: the connection is in autocommit, where a scope would end at once.
    """
    sql, params = scope(tenant, timeout=timeout, role=role)
    # SQLAlchemy has one way to write parameters for all drivers, and it is not PostgreSQL's.
    statement = text(_PLACEHOLDER.sub(r":p\1", sql)).bindparams(
        **{f"p{number}": value for number, value in enumerate(params, start=1)}
    )

    def begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        if transaction.nested:  # a savepoint is inside of the scope
            return
        _refuse_autocommit(connection)
        try:
            connection.execute(statement)
        except DBAPIError as exc:
            raise _error(exc, role) or exc from exc.orig

    async with AsyncSession(engine, **options) as session:
        event.listen(session.sync_session, "after_begin", begin)
        yield session


def _refuse_autocommit(connection: Connection) -> None:
    dbapi = connection.connection.dbapi_connection
    if (
        getattr(dbapi, "autocommit", False) is True
        or getattr(dbapi, "isolation_level", None) == "autocommit"
    ):
        raise ValueError(
            "the engine is in AUTOCOMMIT: a tenant's scope lasts for a transaction, so that every"
            " statement would run without one"
        )


def _error(exc: DBAPIError, role: bool) -> AppError | None:
    sqlstate = getattr(exc.orig, "sqlstate", None)
    about = f"SQLSTATE {sqlstate} of the scope"
    if sqlstate == MISSING_SCHEMA or (role and sqlstate == NO_ROLE):
        return TenantNotFound(internal=about)
    if sqlstate == NO_USAGE or (role and sqlstate == NOT_A_MEMBER):
        return TenantSuspended(internal=about)
    return None
