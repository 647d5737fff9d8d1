"""A psycopg connection as outbox and inbox want one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from mtenant_events.store.errors import TransactionRequired


class PsycopgTransaction:
    """The open transaction of a psycopg connection, for programs without mtenant-database.

    ```python
    async with await AsyncConnection.connect(url) as conn, conn.transaction():
        await conn.execute("update deals set stage = 'won' where id = %s", [deal_id])
        await outbox.add(PsycopgTransaction(conn, tenant="acme"), DealClosedWon(deal_id=deal_id))
    ```

    Begin and end are the connection's; it raises psycopg's errors.

    Args:
        connection: In a transaction, or with autocommit off, so that its next statement begins one.
        tenant: Whose transaction it is; None for one of no tenant.
    """

    def __init__(self, connection: AsyncConnection[Any], *, tenant: str | None) -> None:
        self._connection = connection
        self._tenant = tenant

    @property
    def tenant(self) -> str | None:
        """Whose transaction it is."""
        return self._tenant

    async def execute(self, query: LiteralString, params: Sequence[Any] | None = None) -> object:
        """Send a statement.

        Raises:
            TransactionRequired: The connection commits each statement by itself.
        """
        self._check_open()
        return await self._connection.execute(query, params)

    async def fetch_all(
        self, query: LiteralString, params: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Send a statement, and return its rows.

        Raises:
            TransactionRequired: The connection commits each statement by itself.
        """
        self._check_open()
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(query, params)
            return await cursor.fetchall()

    def _check_open(self) -> None:
        idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        if idle and self._connection.autocommit:
            raise TransactionRequired(
                internal="the connection is in autocommit: use it inside `conn.transaction()`"
            )
