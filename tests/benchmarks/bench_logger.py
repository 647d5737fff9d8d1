"""A log line against the peers: the same fields, to a descriptor of the same kind, to completion.

Every case writes timestamp, level, message, service, request_id, tenant_id, two tags and the
logger's name, in UTC, as one line of JSON to a descriptor of its own. Request and tenant come from
each library's own context. structlog is set up as its performance page says, standard logging as
its documentation does, with an orjson formatter.
"""

from __future__ import annotations

import contextvars
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, TextIO

import loguru
import orjson
import structlog
from harness import Bound, Case, Comparison, report

from mtenant_logger import Logger, log_context
from mtenant_logger.encoding import Encoder, OrjsonEncoder, StandardEncoder
from mtenant_logger.levels import CRITICAL, INFO
from mtenant_logger.line import Lines
from mtenant_logger.pipeline import Pipeline
from mtenant_logger.writer import Writer

MESSAGE = "contact fetched from the store"
PATH, STATUS = "/api/contacts/17", 200
SERVICE, NAME = "contact-service", "contact_service.handlers"
CONTEXT = {"request_id": "0f8b8d7c2a5e4f31a6c0d9e8b7a69584", "tenant_id": "acme"}

OURS, OURS_STANDARD = "mtenant_logger, orjson", "mtenant_logger, standard encoder"
LOGURU_EMPTY = "loguru, a sink that does nothing"
DISABLED, NOTHING = "mtenant_logger, level disabled", "an empty call"
STRUCTLOG, LOGURU, STDLIB = "structlog, orjson, BytesLogger", "loguru, serialize", "logging, orjson"

Run = Callable[[int], object]


def ours(number: int, encoder: Encoder) -> Run:
    """Our logger, by its own encoder and writer."""
    lines = Lines(SERVICE, encoder=encoder)
    writer = Writer(number, notice=lines.notice)
    log = Logger(NAME, Pipeline(lines, writer, INFO))

    def run(n: int) -> None:
        with log_context(request_id=CONTEXT["request_id"], tenant_id=CONTEXT["tenant_id"]):
            for _ in range(n):
                log.info(MESSAGE, path=PATH, status=STATUS)
        writer.flush(60)

    return run


def structlog_fastest(file: BinaryIO) -> Run:
    """The set-up of structlog's performance page, with what our line has besides bound once."""
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
    )
    # Bound, so that nothing is assembled at a call; the factory is given here, because each case
    # has a descriptor of its own.
    log = structlog.wrap_logger(structlog.BytesLogger(file)).bind(service=SERVICE, logger=NAME)

    def run(n: int) -> None:
        with structlog.contextvars.bound_contextvars(**CONTEXT):
            for _ in range(n):
                log.info(MESSAGE, path=PATH, status=STATUS)

    return run


def loguru_serialize(file: TextIO) -> Run:
    """Loguru as it makes JSON by itself."""
    return _loguru(lambda: loguru.logger.add(file, serialize=True, backtrace=False, diagnose=False))


def loguru_empty() -> Run:
    """Loguru's own call alone: a sink that does nothing, with nothing to format."""
    return _loguru(
        lambda: loguru.logger.add(
            _ignore, format="", colorize=False, backtrace=False, diagnose=False
        )
    )


def _ignore(message: object) -> None:
    pass


def _loguru(add_sink: Callable[[], int]) -> Run:
    loguru.logger.remove()
    log = loguru.logger.bind(service=SERVICE)

    def run(n: int) -> None:
        # loguru is one per process and its sinks get every record, so the sink is there for the
        # turn only.
        sink = add_sink()
        with log.contextualize(**CONTEXT):
            for _ in range(n):
                log.info(MESSAGE, path=PATH, status=STATUS)
        loguru.logger.remove(sink)

    return run


_request: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("request")


class OrjsonFormatter(logging.Formatter):
    """The fields of our line, by orjson."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "service": SERVICE,
            **_request.get(),
            **record.__dict__["tags"],
            "logger": record.name,
        }
        return orjson.dumps(fields).decode()


def stdlib_orjson(file: TextIO) -> Run:
    """Standard logging with an orjson formatter."""
    log = logging.Logger(NAME, logging.INFO)
    handler = logging.StreamHandler(file)
    handler.setFormatter(OrjsonFormatter())
    log.addHandler(handler)

    def run(n: int) -> None:
        token = _request.set(CONTEXT)
        for _ in range(n):
            log.info(MESSAGE, extra={"tags": {"path": PATH, "status": STATUS}})
        _request.reset(token)

    return run


@contextmanager
def descriptors(kind: str) -> Iterator[Callable[[], int]]:
    """Give descriptors of one kind: `null`, `file`, or a `pipe` that a thread reads to its end."""
    with ExitStack() as stack:

        def one() -> int:
            if kind == "null":
                number = os.open(os.devnull, os.O_WRONLY)
            elif kind == "file":
                number = os.dup(stack.enter_context(tempfile.TemporaryFile()).fileno())
            else:
                end, number = os.pipe()
                threading.Thread(target=_read_all, args=(end,), daemon=True).start()
            stack.callback(os.close, number)
            return number

        yield one


def _read_all(end: int) -> None:
    while os.read(end, 1 << 20):
        pass
    os.close(end)


def lines(kind: str, one: Callable[[], int], bounds: list[Bound]) -> Comparison:
    """Compare one enabled line."""
    return Comparison(
        f"one JSON line, two tags, two context fields, to {kind}",
        [
            Case(OURS, ours(one(), OrjsonEncoder())),
            Case(OURS_STANDARD, ours(one(), StandardEncoder())),
            Case(STRUCTLOG, structlog_fastest(os.fdopen(one(), "wb", closefd=False))),
            Case(LOGURU, loguru_serialize(os.fdopen(one(), "w", closefd=False))),
            Case(LOGURU_EMPTY, loguru_empty()),
            Case(STDLIB, stdlib_orjson(os.fdopen(one(), "w", closefd=False))),
        ],
        bounds,
    )


class Empty:
    """The least that a call can be."""

    def info(self, message: object, /, *args: object, **tags: object) -> None:
        """Do nothing."""


def disabled() -> Comparison:
    """Compare a call below the level with a call that does nothing."""
    log = Logger(NAME, Pipeline(Lines(SERVICE), Writer(2), CRITICAL))
    empty = Empty()

    def ours_disabled(n: int) -> None:
        for _ in range(n):
            log.info(MESSAGE, path=PATH, status=STATUS)

    def nothing(n: int) -> None:
        for _ in range(n):
            empty.info(MESSAGE, path=PATH, status=STATUS)

    return Comparison(
        "a call at a disabled level",
        [Case(DISABLED, ours_disabled), Case(NOTHING, nothing)],
        [Bound(DISABLED, NOTHING, 2.0)],
    )


def main() -> int:
    """Print all comparisons; the bounds are held on /dev/null, where the reader costs nothing."""
    bounds = [Bound(OURS, STRUCTLOG, 0.6), Bound(OURS, LOGURU, 0.25), Bound(OURS, STDLIB, 0.5)]
    with descriptors("null") as null, descriptors("file") as file, descriptors("pipe") as pipe:
        return report(
            "logger",
            [
                lines("/dev/null", null, bounds),
                lines("a file", file, []),
                lines("a pipe with a reader", pipe, []),
                disabled(),
            ],
        )


if __name__ == "__main__":
    raise SystemExit(main())
