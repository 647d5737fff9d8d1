"""What tests of programs that log need: a logger that remembers, assertions, and a fresh start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mtenant_logger import config
from mtenant_logger.encoding import Encoder
from mtenant_logger.levels import NAMES, number_of
from mtenant_logger.line import Lines
from mtenant_logger.logger import PROCESS, Logger
from mtenant_logger.pipeline import Pipeline
from mtenant_logger.redaction import SECRETS
from mtenant_logger.writer import Counts, Stats


class Recorder:
    """Takes lines as a `Writer` does, and keeps them."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._written = dict.fromkeys(NAMES, 0)
        self._dropped = dict.fromkeys(NAMES, 0)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return every line as the JSON object that it is."""
        return [json.loads(line) for line in self.lines]

    def write(self, level: int, line: bytes) -> None:
        """Keep a line."""
        self._written[level] += 1
        self.lines.append(line)

    def lose(self, level: int) -> None:
        """Count a call that made no line."""
        self._dropped[level] += 1

    def flush(self, seconds: float = 0.0) -> bool:
        """Return True: nothing is ever queued."""
        return True

    def stats(self) -> Stats:
        """Return the counters."""
        return Stats(_named(self._written), _named(self._dropped), _named({}))

    def clear(self) -> None:
        """Forget the lines so far."""
        self.lines.clear()


class RecordingLogger(Logger):
    """A logger that keeps its lines; it makes them as the real one does, redaction included.

    >>> log = RecordingLogger()
    >>> log.info("contact created", contact_id=17, password="hunter2")
    >>> log.records[0]["password"]
    '***'

    Args:
        name: the lines' `logger`.
        level: the lowest level that is kept.
        service: the lines' `service`.
        clock: gives the time in nanoseconds since 1970; time.time_ns by default.
        encoder: the JSON encoder; the best that is installed by default.
    """

    __slots__ = ("recorder",)

    def __init__(
        self,
        name: str = "test",
        *,
        level: str = "debug",
        service: str = "test",
        clock: Callable[[], int] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.recorder = Recorder()
        given: dict[str, Any] = {} if clock is None else {"clock": clock}
        lines = Lines(service, encoder=encoder, **given)
        super().__init__(name, Pipeline(lines, self.recorder, number_of(level)))

    def bind(self, /, **tags: object) -> Logger:
        """Return a logger with these tags, whose lines are kept here."""
        return Logger(self.name, self._pipeline, {**self.bound, **tags})

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return every line as the JSON object that it is."""
        return self.recorder.records


@contextmanager
def recorded_logs(level: str = "debug", service: str = "test") -> Iterator[Recorder]:
    """Keep what every `get_logger` of this process logs inside the block, and write none of it.

    For code under test that has its logger at module level. Whether `configure` was called does
    not matter; what other libraries log through `logging` or loguru is not kept.

    >>> from mtenant_logger import get_logger
    >>> with recorded_logs() as logs:
    ...     get_logger("shop").info("sold", pieces=3)
    >>> assert_logged(logs, "sold", level="info", pieces=3)["logger"]
    'shop'
    """
    recorder = Recorder()
    before = PROCESS.exchange(Pipeline(Lines(service), recorder, number_of(level)))
    try:
        yield recorder
    finally:
        PROCESS.exchange(before)


def assert_logged(
    logs: Recorder | RecordingLogger, message: str, *, level: str | None = None, **fields: object
) -> dict[str, Any]:
    """Return the first record with this message, level and these fields.

    Args:
        logs: where to look.
        message: the whole message.
        level: its level, if it matters.
        fields: further fields, compared with the JSON values of the record.

    Raises:
        AssertionError: there is none; its text lists what was logged.
    """
    wanted: Mapping[str, object] = {
        "message": message,
        **({"level": level} if level else {}),
        **fields,
    }
    missing = object()
    for record in logs.records:
        if all(record.get(name, missing) == value for name, value in wanted.items()):
            return record
    listed = "\n".join(f"  {record}" for record in logs.records) or "  nothing"
    raise AssertionError(f"no record has {dict(wanted)!r}; logged was:\n{listed}")


def reset() -> None:
    """Undo `configure` and `register_secret`: the handlers of logging are back, loguru's as well."""
    config.stop()
    SECRETS.clear()


def _named(counts: Mapping[int, int]) -> Counts:
    return {name: counts.get(level, 0) for level, name in NAMES.items()}
