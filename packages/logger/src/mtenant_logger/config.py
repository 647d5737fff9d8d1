"""Settings of the process's log, and the one call that puts them into effect."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Literal

from mtenant_logger.levels import CHOICES, number_of
from mtenant_logger.line import LIBRARY, Lines
from mtenant_logger.logger import PROCESS, Logger, flush
from mtenant_logger.pipeline import Pipeline
from mtenant_logger.writer import Writer

Format = Literal["json", "console"]


@dataclass(frozen=True)
class LoggerConfig:
    """How this process logs.

    Attributes:
        service: the line's `service`.
        level: the lowest level that is written.
        format: `json`, one line a record; or `console`, loguru's coloured text for people.
        caller: add `caller`, the place of each call as `file:line function`. Costs a walk up the
            stack and the quick way of encoding.
        fd: the file descriptor to write to; standard output by default. A copy is taken.
        problems: what was wrong in the environment; `configure` logs a warning of each.

    Raises:
        ValueError: there is no such level or format.
    """

    service: str
    level: str = "info"
    format: Format = "json"
    caller: bool = False
    fd: int = 1
    problems: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        number_of(self.level)
        if self.format not in {"json", "console"}:
            raise ValueError(f"no log format {self.format!r}: use json or console")

    @classmethod
    def from_env(
        cls, service: str = "unknown_service", *, environ: Mapping[str, str] = os.environ
    ) -> LoggerConfig:
        """Read LOG_LEVEL and LOG_FORMAT.

        A wrong value never keeps a program from starting: it becomes `info` or `json`, and
        `configure` logs one warning that names it. An empty one counts as not set.
        """
        problems = []
        level = environ.get("LOG_LEVEL", "").strip() or "info"
        try:
            number_of(level)
        except ValueError:
            problems.append(f"LOG_LEVEL is {level[:64]!r}, not one of {CHOICES}: info is used")
            level = "info"
        chosen = environ.get("LOG_FORMAT", "").strip().lower() or "json"
        if chosen not in {"json", "console"}:
            problems.append(f"LOG_FORMAT is {chosen[:64]!r}, not json or console: json is used")
        written: Format = "console" if chosen == "console" else "json"
        return cls(service, level.lower(), written, problems=tuple(problems))


class _Running:
    """What `configure` started, and how to undo it."""

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self.config: LoggerConfig | None = None
        self.undo = ExitStack()


_running: Final = _Running()


def configure(config: LoggerConfig) -> None:
    """Start logging as configured; for applications, once per process.

    From here on, this process's records go to one stream: those of `get_logger`, of loguru's
    `logger`, and of the standard `logging`, whose handlers are replaced by one of ours. The same
    call again does nothing.

    Raises:
        RuntimeError: the process was configured differently before. Several applications in one
            process share the configuration and differ by `log_context(service=...)`.
    """
    with _running.lock:
        if _running.config == config:
            return
        if _running.config is not None:
            raise RuntimeError(
                f"logging is configured already, with {_running.config!r}; a process does it once:"
                " remove the other call, or use log_context(service=...) for a second application"
            )
        with ExitStack() as undo:
            _start(config, undo)
            _running.undo = undo.pop_all()
        _running.config = config
    for problem in config.problems:
        Logger(LIBRARY).warning(problem)


def stop() -> None:
    """Undo `configure`; for tests."""
    with _running.lock:
        _running.undo.close()
        _running.config = None


def _start(config: LoggerConfig, undo: ExitStack) -> None:
    # Not at the top: loguru is for applications; a library that only logs does not load it.
    from mtenant_logger.router import Router  # noqa: PLC0415
    from mtenant_logger.stdlib import Capture  # noqa: PLC0415

    lines = Lines(config.service)
    console = config.format == "console"
    router = Router(PROCESS, config.fd, console=console)
    writer = Writer(config.fd, notice=router.notice if console else lines.notice)
    writer.open()
    undo.callback(writer.close)
    undo.callback(
        PROCESS.exchange, PROCESS.exchange(Pipeline(lines, writer, number_of(config.level)))
    )
    router.attach()
    undo.callback(router.detach)
    PROCESS.take_route(router, router.core, caller=config.caller)
    capture = Capture(PROCESS, router)
    capture.attach()
    undo.callback(capture.detach)
    atexit.register(flush)
    undo.callback(atexit.unregister, flush)
