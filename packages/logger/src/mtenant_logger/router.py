"""loguru, both ways: its sinks get our records, and records made through it become our lines."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from loguru import logger as loguru_logger

from mtenant_logger.event import Event, Named
from mtenant_logger.failure import render
from mtenant_logger.levels import NAMES, nearest
from mtenant_logger.line import DROPPED, LIBRARY
from mtenant_logger.pipeline import Caller, Pipeline
from mtenant_logger.redaction import SECRETS
from mtenant_logger.writer import Counts

if TYPE_CHECKING:
    from loguru import Message, Record

# loguru's own default, and behind it what the line says besides.
CONSOLE: Final = (
    "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> | <level>{level: <8}</level> | "
    "<cyan>{name}</cyan>:<cyan>{function}</cyan>:<cyan>{line}</cyan> - <level>{message}</level>"
    "<dim>{fields}</dim>"
)


class _Unknown:
    """Stands for a loguru whose inside looks different: its sinks seem to change all the time."""

    @property
    def handlers(self) -> object:
        return object()


class Router:
    """Connects a pipeline with loguru.

    Args:
        pipeline: makes and writes the lines.
        number: the descriptor that it writes to; a terminal gets colours, unless the environment
            has NO_COLOR.
        console: write text for people in place of JSON.
    """

    def __init__(self, pipeline: Pipeline, number: int, *, console: bool) -> None:
        self.console = console
        self._pipeline = pipeline
        self._number = number
        self._here = threading.local()
        # Which sinks there are is not part of loguru's interface. It is only used to save time: if
        # this attribute is gone one day, every record takes the way through loguru.
        self.core: Any = getattr(loguru_logger, "_core", None)
        if not hasattr(self.core, "handlers"):
            self.core = _Unknown()

    def attach(self) -> None:
        """Take the place of loguru's own standard error sink; other sinks stay."""
        with suppress(ValueError):  # the program has removed it already
            loguru_logger.remove(0)
        threshold = self._pipeline.threshold
        # diagnose would print local variables, and backtrace frames that the error never passed.
        if self.console:
            self._own = loguru_logger.add(
                self._print,
                level=threshold,
                format=CONSOLE,
                filter=self._prepare,
                colorize=os.isatty(self._number) and not os.environ.get("NO_COLOR"),
                backtrace=False,
                diagnose=False,
            )
        else:
            # The work is done in the filter, which loguru calls before it renders the exception,
            # copies the record and takes a lock: all of it would be for nothing.
            self._own = loguru_logger.add(
                _ignore,
                level=threshold,
                format="",
                filter=self._take,
                backtrace=False,
                diagnose=False,
            )

    def detach(self) -> None:
        """Leave loguru without our sink."""
        with suppress(ValueError):  # the program has removed it already
            loguru_logger.remove(self._own)

    def is_quiet(self) -> object | None:
        """Return loguru's mapping of sinks if only ours is in it, else None."""
        handlers = self.core.handlers
        if self.console or not isinstance(handlers, dict) or any(i != self._own for i in handlers):
            return None
        return handlers

    def forward(self, event: Event, err: object, caller: Caller | None) -> bool:
        """Hand a record to loguru's sinks; True if our console sink has written it.

        They get what the line has: redacted, bounded, and the exception as text, because a sink
        with loguru's default `diagnose=True` would print the local variables of a live one.
        """
        if self.is_quiet() is not None or getattr(self._here, "event", None) is not None:
            return False
        self._here.event, self._here.printed = event, False
        try:
            message = event.message
            if err is not None and (text := render(err, SECRETS)):
                message = f"{message}\n{text}"

            def dress(record: Record) -> None:
                record["name"] = event.logger
                if caller is not None:
                    record["function"], record["line"] = caller.function, caller.line
                record["extra"].update(event.fields())

            loguru_logger.patch(dress).log(NAMES[event.level].upper(), message)
        except Exception:  # noqa: S110  # a sink with catch=False; our line is not its affair
            pass
        finally:
            self._here.event = None
        return bool(self._here.printed)

    def is_forwarding(self) -> bool:
        """Tell whether this thread is handing a record to loguru right now."""
        return getattr(self._here, "event", None) is not None

    def notice(self, dropped: Counts) -> bytes:
        """Return the console's line that tells how many lines were dropped."""
        counts = " ".join(f"{level}={count}" for level, count in dropped.items())
        return f"{LIBRARY} - {DROPPED} {counts}\n".encode()

    def _take(self, record: Record) -> bool:
        """Write the line of a record that other code made through loguru; loguru does no more."""
        if not self.is_forwarding():
            self._pipeline.emit_routed(
                Named(record["name"] or "loguru"),
                nearest(record["level"].no),
                record["message"],
                (),
                record["extra"],
                _exception_of(record),
                Caller(record["file"].path, record["line"], record["function"]),
                forward=False,
            )
        return False

    def _prepare(self, record: Record) -> bool:
        """Give a record for the console its fields as text."""
        event: Event | None = getattr(self._here, "event", None)
        lines = self._pipeline.lines
        if event is None:
            source, level = Named(record["name"] or "loguru"), nearest(record["level"].no)
            event = lines.event(source, level, "", (), record["extra"], None)
        record["fields"] = lines.text_of(event)  # type: ignore[typeddict-unknown-key]  # CONSOLE's own
        return True

    def _print(self, message: Message) -> None:
        text = SECRETS.mask(str(message)).encode("utf-8", "backslashreplace")
        self._pipeline.output.write(nearest(message.record["level"].no), text)
        self._here.printed = True


def _exception_of(record: Record) -> BaseException | None:
    exception = record["exception"]
    return None if exception is None else exception.value


def _ignore(message: Message) -> None:
    pass
