"""The way of a log call: level, line, writer; and through loguru if somebody else listens there."""

from __future__ import annotations

import sys
from copy import copy
from typing import Any, Protocol

from mtenant_logger.event import Event, Source
from mtenant_logger.levels import WARNING
from mtenant_logger.line import Lines
from mtenant_logger.writer import Stats


class Output(Protocol):
    """Where lines go: a `Writer`, or memory in tests."""

    def write(self, level: int, line: bytes) -> None:
        """Take a line; never raises an `Exception`."""
        ...

    def lose(self, level: int) -> None:
        """Count a call that made no line."""
        ...

    def flush(self, seconds: float = ...) -> bool:
        """Wait at most so long until no line is queued; True if none is."""
        ...

    def stats(self) -> Stats:
        """Return the counters."""
        ...


class Route(Protocol):
    """Who else gets each record.

    Attributes:
        console: whether `forward` writes our own line too, as text for people.
    """

    console: bool

    def is_quiet(self) -> object | None:
        """Return loguru's own mapping of sinks if none but ours is in it, else None."""
        ...

    def forward(self, event: Event, err: object, caller: Caller | None) -> bool:
        """Hand a record on; True if that also wrote our line."""
        ...


class Caller:
    """The place of a log call."""

    __slots__ = ("file", "function", "line")

    def __init__(self, file: str, line: int, function: str) -> None:
        self.file, self.line, self.function = file, line, function

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


class _Sinks:
    """Stands for loguru's core where there is no loguru: its sinks never change."""

    handlers: object = ()


class Pipeline:
    """Makes a line of a call and sees to it that it is written or counted.

    Attributes:
        threshold: the lowest enabled level.
        lines: makes the lines.
        output: takes the lines.
    """

    def __init__(self, lines: Lines, output: Output, threshold: int = WARNING) -> None:
        self.threshold = threshold
        self.use(lines, output)
        self.leave_route()

    def use(self, lines: Lines, output: Output) -> None:
        """Make and write lines with these from now on."""
        self.lines, self._quick, self._encode = lines, lines.quick, lines.encode
        self.output, self._write = output, output.write

    def take_route(self, route: Route, core: Any, *, caller: bool) -> None:
        """Hand records on to `route`, whenever `core.handlers` holds a sink besides ours."""
        self._route: Route | None = route
        self._wants_caller = caller
        self._quiet: object = None
        self._core: Any = core

    def leave_route(self) -> None:
        """Keep to the own writer."""
        self._core, self._quiet, self._route = _Sinks, _Sinks.handlers, None
        self._wants_caller = False

    def exchange(self, other: Pipeline) -> Pipeline:
        """Work as `other` does from now on, and return a pipeline that works as this one did."""
        before = copy(self)
        self.__dict__.update(other.__dict__)
        return before

    def emit(  # noqa: PLR0917  # as Lines.encode
        self,
        source: Source,
        level: int,
        message: object,
        args: tuple[object, ...],
        tags: dict[str, Any],
        err: object,
    ) -> None:
        """Write one line, or count one drop.

        Raises no `Exception`. What is not one, such as the KeyboardInterrupt of a Ctrl-C that
        arrives while a tag's `__str__` runs, is the program's: the call counts as dropped, and it
        goes on its way.
        """
        # loguru replaces this mapping whenever a sink comes or goes, so one comparison tells
        # whether anybody besides us listens.
        if self._core.handlers is not self._quiet and not self._is_quiet():
            self.emit_routed(source, level, message, args, tags, err)
            return
        try:
            line = self._quick(source, level, message, args, tags, err)
            if line is None:
                line = self._encode(source, level, message, args, tags, err)
        except BaseException as exc:
            self.output.lose(level)
            if not isinstance(exc, Exception):
                raise
            return
        self._write(level, line)

    def emit_routed(  # noqa: PLR0917  # as Lines.encode
        self,
        source: Source,
        level: int,
        message: object,
        args: tuple[object, ...],
        tags: dict[str, Any],
        err: object,
        caller: Caller | None = None,
        *,
        forward: bool = True,
    ) -> None:
        """Do as `emit` does, and hand the record on to the other sinks."""
        written = False
        try:
            route = self._route if forward else None
            if caller is None and (route is not None or self._wants_caller):
                caller = find_caller()
            place = str(caller) if self._wants_caller and caller is not None else None
            event = self.lines.event(source, level, message, args, tags, err, place)
            if route is None or not route.console:
                self._write(level, self.lines.render(event))
                written = True
            if route is not None:
                written = route.forward(event, err, caller) or written
        except Exception:  # noqa: S110  # counted below: a log call does not fail its caller
            pass
        finally:
            if not written:
                self.output.lose(level)

    def _is_quiet(self) -> bool:
        if self._route is None or self._wants_caller:
            return False
        self._quiet = self._route.is_quiet()
        return self._quiet is not None


def find_caller() -> Caller | None:
    """Return the innermost place in the stack that is not in this package."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not isinstance(module, str) or module.partition(".")[0] != __package__:
            return Caller(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return None
