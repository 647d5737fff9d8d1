"""One connection of the migrator, and SQL text that is sent over it as it is.

Text with several statements goes to the server in one message, by the simple protocol, and psycopg
would forget which of them failed. So the results are read here.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGresult

from mtenant_database.dsn import InvalidDsn, read_dsn
from mtenant_database.migrate.errors import MigrationFailed

# What a transaction that failed by one of these wanted may be had a moment later (manual, appendix A).
TRANSIENT: Final = frozenset({"55P03", "40P01", "40001"})


class ScriptFailed(MigrationFailed):
    """The server refused a statement, or was not to be reached.

    Attributes:
        error: What psycopg makes of it.
        index: Which statement of the text it was, counted from 0.
        sqlstate: The server's code; None when the connection broke.
        lost: Whether the connection broke, so that nobody knows yet what came of it.
    """

    def __init__(self, error: psycopg.Error, index: int = 0) -> None:
        super().__init__(where="the server", problem=_problem(error))
        self.error = error
        self.index = index
        self.sqlstate = error.sqlstate
        self.lost = self.sqlstate is None or self.sqlstate.startswith(("08", "57P0"))

    @property
    def transient(self) -> bool:
        """Whether the same may succeed a moment later."""
        return self.sqlstate in TRANSIENT

    def explain(self, where: str) -> MigrationFailed:
        """Return the error for a caller, who knows what was going on."""
        err = MigrationFailed(where=where, problem=_problem(self.error))
        err.sqlstate, err.lost = self.sqlstate, self.lost
        return err

    @property
    def position(self) -> int | None:
        """Where in the text the server points to, counted from 0."""
        position = self.error.diag.statement_position
        return int(position) - 1 if position else None


class Link:
    """A connection that is made when it is first needed, and again after it broke.

    Args:
        conninfo: A URL or a connection string. Not one that leads to PgBouncer in transaction mode
            if there are no-transaction files.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    def __repr__(self) -> str:
        return f"<Link {'closed' if self._connection is None else 'open'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; whatever it had open is rolled back by the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def connection(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """Return the connection, which is in autocommit mode.

        Raises:
            ScriptFailed: It cannot be made.
            InvalidDsn: The connection string is none; libpq's own message would quote it.
        """
        if self._connection is None or self._connection.closed:
            if (parameters := read_dsn(self._conninfo)) is None:
                raise InvalidDsn("the connection string cannot be read")
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    make_conninfo(**parameters | {"application_name": "mtenant-db"}),
                    autocommit=True,
                    prepare_threshold=None,
                )
            except psycopg.Error as exc:
                raise ScriptFailed(exc) from exc
        return self._connection

    @property
    def superuser(self) -> bool:
        """Whether the role in force is a superuser, as the server reports it by itself."""
        connection = self._connection
        return connection is not None and (connection.info.parameter_status("is_superuser") == "on")

    async def run(self, text: str) -> list[PGresult]:
        """Send text with any number of statements, and return one result for each.

        Raises:
            ScriptFailed: The server refused one and did not run those after it, or the connection
                broke or could not be made.
        """
        connection = await self.connection()
        async with connection.lock:
            try:
                results = await connection.wait(_exchange(connection.pgconn, text.encode()))
            except psycopg.Error as exc:
                raise ScriptFailed(exc) from exc
            except BaseException:  # cancelled: what is open now ends with the connection
                await self.close()
                raise
        last = results[-1]
        if last.status == pq.ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(last, "utf-8")
            raise ScriptFailed(error, len(results) - 1)
        return results

    async def value(self, text: str) -> str | None:
        """Send one query and return its only value as text."""
        return text_of((await self.run(text))[-1])

    async def rollback(self) -> None:
        """End whatever transaction is open; a connection that cannot do that is closed."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            return
        try:
            await self.run("ROLLBACK; RESET SESSION AUTHORIZATION; RESET ALL")
        except ScriptFailed:
            await self.close()


def text_of(result: PGresult) -> str | None:
    """Return the first value of a result as text; None for NULL or no row."""
    value = result.get_value(0, 0) if result.ntuples else None
    return None if value is None else value.decode()


def rows_of(result: PGresult) -> list[tuple[Any, ...]]:
    """Return the rows of a result, its values as psycopg loads them."""
    transformer = Transformer()
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _problem(error: psycopg.Error) -> str:
    # Without DETAIL, which may show rows.
    diag = error.diag
    problem = diag.message_primary or str(error).strip()
    hint = f" ({diag.message_hint})" if diag.message_hint else ""
    return f"{error.sqlstate} {problem}{hint}" if error.sqlstate else problem


def _exchange(pgconn: pq.abc.PGconn, text: bytes) -> PQGen[list[PGresult]]:
    pgconn.send_query(text)
    results: list[PGresult] = yield from generators.execute(pgconn)
    return results
