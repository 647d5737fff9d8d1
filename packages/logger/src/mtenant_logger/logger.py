"""The logger: what a program calls."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from mtenant_logger.levels import CRITICAL, DEBUG, ERROR, INFO, WARNING, number_of
from mtenant_logger.line import Lines
from mtenant_logger.pipeline import Pipeline
from mtenant_logger.writer import FLUSH_SECONDS, Stats, Writer

# What every `get_logger` logs through. Until `configure`, warnings and above go to standard error,
# as with the standard library's last resort; opened by the first of them, not here.
_lines = Lines("unknown_service")
PROCESS: Final = Pipeline(_lines, Writer(2, notice=_lines.notice))


class Logger:
    """Writes one line a call, under its name and with its bound tags.

    All levels take the same arguments:

    - `message`: any object. Its text is written as it is: no braces, per cents or markup mean
      anything.
    - `args`: kept under `args`, for calls that were written for other loggers.
    - `err`: an exception, described under `error` with its causes and its stack, without locals.
    - `tags`: further fields of the line. A name that the line has already is written as `tag_<name>`.

    A call at an enabled level gives exactly one line or one counted drop, and never raises an
    `Exception`, whatever it is given. Only at the interpreter's recursion limit is there no room
    to keep that promise.
    """

    __slots__ = ("_pipeline", "bound", "name", "prepared")

    def __init__(
        self, name: str, pipeline: Pipeline = PROCESS, bound: Mapping[str, object] | None = None
    ) -> None:
        self.name = name
        self.bound: Mapping[str, object] = {} if bound is None else bound
        self.prepared: Any = None
        self._pipeline = pipeline

    def debug(self, message: object, /, *args: object, err: object = None, **tags: object) -> None:
        """Log what helps to find a fault."""
        if self._pipeline.threshold <= DEBUG:
            self._pipeline.emit(self, DEBUG, message, args, tags, err)

    def info(self, message: object, /, *args: object, err: object = None, **tags: object) -> None:
        """Log what happened as it should."""
        if self._pipeline.threshold <= INFO:
            self._pipeline.emit(self, INFO, message, args, tags, err)

    def warning(
        self, message: object, /, *args: object, err: object = None, **tags: object
    ) -> None:
        """Log what went on, but not as it should."""
        if self._pipeline.threshold <= WARNING:
            self._pipeline.emit(self, WARNING, message, args, tags, err)

    def error(self, message: object, /, *args: object, err: object = None, **tags: object) -> None:
        """Log what failed."""
        if self._pipeline.threshold <= ERROR:
            self._pipeline.emit(self, ERROR, message, args, tags, err)

    def critical(
        self, message: object, /, *args: object, err: object = None, **tags: object
    ) -> None:
        """Log what keeps the whole program from its work."""
        if self._pipeline.threshold <= CRITICAL:
            self._pipeline.emit(self, CRITICAL, message, args, tags, err)

    def exception(
        self, message: object, /, *args: object, err: object = None, **tags: object
    ) -> None:
        """Log an error with the exception that is being handled."""
        if self._pipeline.threshold <= ERROR:
            error = sys.exc_info()[1] if err is None else err
            self._pipeline.emit(self, ERROR, message, args, tags, error)

    def fatal(
        self, message: object, /, *args: object, err: object = None, **tags: object
    ) -> NoReturn:
        """Log at `critical`, wait up to two seconds until everything is written, and end.

        Raises:
            SystemExit: always, with status 1. In another thread than the main one this ends that
                thread only.
        """
        self._pipeline.emit(self, CRITICAL, message, args, tags, err)
        self._pipeline.output.flush(FLUSH_SECONDS)
        raise SystemExit(1)

    def bind(self, /, **tags: object) -> Logger:
        """Return a logger of the same name whose lines also have these tags.

        They are encoded once, not at each call. A call's own tag wins over one that is bound.
        """
        return type(self)(self.name, self._pipeline, {**self.bound, **tags})

    def enabled(self, level: str) -> bool:
        """Tell whether calls at this level write anything; for tags that are costly to make.

        Raises:
            ValueError: there is no such level.
        """
        return self._pipeline.threshold <= number_of(level)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def get_logger(name: str) -> Logger:
    """Return a logger; cheap, safe at import, and without any effect on the process.

    Args:
        name: usually `__name__`; it is the line's `logger`.
    """
    return Logger(name)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until nothing is queued, at most so many seconds; True if nothing is."""
    return PROCESS.output.flush(seconds)


def stats() -> Stats:
    """Return how many lines were written, dropped and queued, by level, since `configure`."""
    return PROCESS.output.stats()
