"""One flush: several messages sent at once and read until their Sync, one round trip in all.

psycopg's `pipeline()` does the same in general and costs several times as much, because it may be
left open. Here everything is known before the first byte is sent, so one generator over libpq's
calls is enough; `await conn.wait(generator)` runs it, as it runs psycopg's own.

Either the generator returns and the connection is idle (or in the transaction that was asked for),
or the connection is closed. There is no third state in which somebody else could borrow it: not
after an error, not after a cancellation at any of its awaits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

from psycopg import OperationalError, generators
from psycopg.abc import Buffer, PQGen
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

# Looked up once: an attribute of an enum costs more than the comparison it is for.
_SYNC = ExecStatus.PIPELINE_SYNC
_FATAL = ExecStatus.FATAL_ERROR
_COPIES = frozenset({ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH})
_BAD = ConnStatus.BAD
_IDLE = TransactionStatus.IDLE
_READ = Wait.R
_READ_WRITE = Wait.RW
_READABLE = Ready.R


class ConnectionLost(OperationalError):
    """The connection was lost before the flush was answered in full.

    Attributes:
        results: What had been answered by then.
    """

    def __init__(self, reason: object, results: Sequence[PGresult]) -> None:
        super().__init__(f"the connection was lost: {reason}")
        self.results = results


class Message(Protocol):
    """One statement of a flush; psycopg's `PostgresQuery` is one too."""

    @property
    def query(self) -> bytes:
        """The text, with `$1` for the first parameter."""
        ...

    @property
    def params(self) -> Sequence[Buffer | None] | None:
        """The parameters in the formats below."""
        ...

    @property
    def types(self) -> Sequence[int] | None:
        """The parameters' type oids; None or 0 lets the server decide."""
        ...

    @property
    def formats(self) -> Sequence[Any] | None:
        """The parameters' formats; None is text for all."""
        ...


class Prepared(NamedTuple):
    """A statement of ours, executed by the name under which the connection has it.

    A tenant's statements are never named: one whose Parse is skipped by an abort would poison the
    connection, and tenants may have types of their own behind equal text.
    """

    name: bytes
    params: Sequence[Buffer | None] | None = None


class Text(NamedTuple):
    """A statement of ours, sent as text."""

    query: bytes
    params: Sequence[Buffer | None] | None = None
    types: Sequence[int] | None = None
    formats: Sequence[int] | None = None


class Queued(NamedTuple):
    """A statement of the caller's that travels ahead of another one.

    Attributes:
        text: As the caller wrote it, for logs and traces.
    """

    query: bytes
    params: Sequence[Buffer | None] | None
    types: Sequence[int] | None
    formats: Sequence[Any] | None
    text: str


class Parse(NamedTuple):
    """Prepares a text; the unnamed one is replaced by every other `Text` or `Message`."""

    query: bytes
    types: Sequence[int]
    name: bytes = b""


class Bind(NamedTuple):
    """Executes what was prepared, with one row of parameters."""

    params: Sequence[Buffer | None] | None
    formats: Sequence[Any] | None
    name: bytes = b""


Messages: TypeAlias = Sequence[Prepared | Text | Parse | Bind | Message]


def flush(pgconn: PGconn, messages: Messages, *, ends: bool) -> PQGen[list[PGresult]]:
    """Send the messages and a Sync; return one result for each of them, in order.

    After the first error the rest are `PIPELINE_ABORTED`. An error of the commit that the Sync makes
    comes as one result more. If the server closed the connection, the FATAL error that says why is
    among the results, and there may be fewer of them.

    Args:
        pgconn: An idle connection, or one in a transaction, that nobody else uses.
        messages: What to send; none of them may be COPY.
        ends: Whether no transaction may be open afterwards. One that an error left open is rolled
            back here, so that a failed flush cannot hand its scope on.

    Raises:
        ConnectionLost: What the server did is unknown, but for the results that came.
    """
    try:
        pgconn.enter_pipeline_mode()
        for message in messages:
            _queue(pgconn, message)
        pgconn.pipeline_sync()
        while pgconn.flush():
            # None: nothing was ready within the interval after which `wait` asks again.
            ready = yield _READ_WRITE
            if ready and ready & _READABLE:
                pgconn.consume_input()
        results = yield from _read(pgconn)
        if pgconn.status == _BAD:
            return results
        pgconn.exit_pipeline_mode()
        if ends and pgconn.transaction_status != _IDLE:
            pgconn.send_query(b"ROLLBACK")
            yield from generators.execute(pgconn)
    except BaseException:
        # Also GeneratorExit: whoever drops a flush half way must not leave it to the next borrower.
        pgconn.finish()
        raise
    return results


def _queue(pgconn: PGconn, message: Prepared | Text | Parse | Bind | Message) -> None:
    if isinstance(message, Prepared):
        pgconn.send_query_prepared(message.name, message.params)
    elif isinstance(message, Bind):
        pgconn.send_query_prepared(message.name, message.params, param_formats=message.formats)
    elif isinstance(message, Parse):
        pgconn.send_prepare(message.name, message.query, param_types=message.types)
    else:
        pgconn.send_query_params(
            message.query,
            message.params,
            param_types=message.types,
            param_formats=message.formats,
        )


def single(
    pgconn: PGconn, message: Prepared | Text | Parse | Bind | Message
) -> PQGen[list[PGresult]]:
    """Send one statement by itself and return its result; a second one is an error of its commit.

    Raises:
        ConnectionLost: As `flush`.
    """
    try:
        _queue(pgconn, message)
        try:
            results: list[PGresult] = yield from generators.execute(pgconn)
        except OperationalError as exc:
            raise ConnectionLost(exc, ()) from exc
        if any(result.status in _COPIES for result in results):
            _refuse_copy()
    except BaseException:
        pgconn.finish()
        raise
    return results


def _read(pgconn: PGconn) -> PQGen[list[PGresult]]:
    results: list[PGresult] = []
    try:
        while True:
            while pgconn.is_busy():
                while not (yield _READ):
                    pass
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:  # the end of one message
                continue
            status = result.status
            if status == _SYNC:
                return results
            if status in _COPIES:
                _refuse_copy()
            results.append(result)
    except OperationalError as exc:
        if any(result.status == _FATAL for result in results):
            # The server said why before it closed the connection; libpq has aborted the rest.
            pgconn.finish()
            return results
        raise ConnectionLost(exc, results) from exc


def _refuse_copy() -> NoReturn:
    # libpq has no way out of it here; whoever catches this closes the connection.
    raise OperationalError("COPY without its protocol: the connection is closed")


def prepare(pgconn: PGconn, named: Sequence[tuple[bytes, bytes]]) -> PQGen[list[PGresult]]:
    """Prepare statements under names, in one round trip; read as `flush` is."""
    try:
        pgconn.enter_pipeline_mode()
        for name, text in named:
            pgconn.send_prepare(name, text)
        pgconn.pipeline_sync()
        while pgconn.flush():
            ready = yield _READ_WRITE
            if ready and ready & _READABLE:
                pgconn.consume_input()
        results = yield from _read(pgconn)
        if pgconn.status != _BAD:
            pgconn.exit_pipeline_mode()
    except BaseException:
        pgconn.finish()
        raise
    return results
