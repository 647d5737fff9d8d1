"""The standard `logging` module: what other libraries log with it, in our stream, each line once."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from mtenant_logger.context import current_request_id, log_context
from mtenant_logger.event import Named
from mtenant_logger.levels import nearest
from mtenant_logger.pipeline import Caller, Pipeline
from mtenant_logger.router import Router

# What every record has; the rest is `extra=`, the tags. uvicorn adds its message with colours.
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "color_message",
    "message",
    "taskName",
}


class Capture(logging.Handler):
    """The one handler that is left: it turns each record into a line under its logger's name."""

    def __init__(self, pipeline: Pipeline, router: Router) -> None:
        super().__init__(pipeline.threshold)
        self._pipeline = pipeline
        self._router = router
        self._before: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
        self._level_before = logging.NOTSET

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit, without the lock of the base class: the writer's is enough."""
        kept: Any = self.filter(record)
        if kept:
            # From Python 3.12 on a filter may give another record in its place.
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return kept

    def attach(self) -> None:
        """Take the place of the root logger's handlers, and of those that other loggers have.

        A logger whose handlers are taken passes its records up from now on, as uvicorn's access
        log does not by itself.
        """
        root = logging.getLogger()
        others = [
            item for item in root.manager.loggerDict.values() if isinstance(item, logging.Logger)
        ]
        for logger in (root, *others):
            taken = [item for item in logger.handlers if not isinstance(item, logging.NullHandler)]
            if taken:
                self._before.append((logger, taken, logger.propagate))
                for handler in taken:
                    logger.removeHandler(handler)
                logger.propagate = True
        self._level_before = root.level
        root.addHandler(self)
        root.setLevel(self._pipeline.threshold)

    def detach(self) -> None:
        """Put everything back."""
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level_before)
        for logger, handlers, propagate in self._before:
            logger.propagate = propagate
            for handler in handlers:
                logger.addHandler(handler)
        self._before.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line of a record, or count one drop."""
        if self._router.is_forwarding():
            # A sink of loguru's that logs, or hands records to logging: an echo of what is written.
            return
        tags = {name: value for name, value in record.__dict__.items() if name not in _OWN}
        args: tuple[Any, ...] = ()
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the text, or cannot be printed
            message = record.msg
            args = record.args if isinstance(record.args, tuple) else (record.args,)
        error = record.exc_info[1] if record.exc_info else None
        caller = Caller(record.pathname, record.lineno, record.funcName)
        with _request_of(tags):
            self._pipeline.emit_routed(
                Named(record.name), nearest(record.levelno), message, args, tags, error, caller
            )


def _request_of(tags: dict[str, Any]) -> AbstractContextManager[None]:
    """Return the context of a record's extra `request_id`, taken out of the tags.

    A library that does not know this one has no other way to tell it. A `log_context` around the
    call counts before it: a differing extra stays among the tags.
    """
    told = tags.get("request_id")
    if type(told) is not str or current_request_id() not in {None, told}:
        return nullcontext()
    del tags["request_id"]
    return log_context(request_id=told)
