"""Progress of a run: a bar on a terminal, a line for each tenant otherwise."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

from mtenant_database.migrate.report import Result

_WIDTH: Final = 30
_EVERY: Final = 0.1  # seconds between two drawings


class Progress(Protocol):
    """Whoever wants to know how a run gets on."""

    def planned(self, count: int) -> None:
        """So many tenants more are to be migrated."""

    def finished(self, result: Result) -> None:
        """One of them is done, one way or another."""


class Silence:
    """Says nothing."""

    def planned(self, count: int) -> None:
        """Say nothing."""

    def finished(self, result: Result) -> None:
        """Say nothing."""


class Lines:
    """A line for each tenant, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = 0
        self._count = 0

    def planned(self, count: int) -> None:
        """Count them."""
        self._total += count

    def finished(self, result: Result) -> None:
        """Write the line."""
        self._count += 1
        said = result.error or ", ".join(result.steps)
        print(
            f"{self._count}/{self._total} {result.tenant} {result.outcome} {said}".rstrip(),
            file=self._stream,
            flush=True,
        )


class Bar:
    """One line that is drawn anew; failures stay above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = 0
        self._count = 0
        self._failed = 0
        self._drawn = 0.0

    def planned(self, count: int) -> None:
        """Make room for them."""
        self._total += count
        self._draw()

    def finished(self, result: Result) -> None:
        """Move on."""
        self._count += 1
        if result.outcome == "failed":
            self._failed += 1
            print(f"\r\x1b[K{result.tenant}: {result.error}", file=self._stream)
        if self._count >= self._total or time.monotonic() - self._drawn >= _EVERY:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        done = _WIDTH * self._count // max(1, self._total)
        failed = f", {self._failed} failed" if self._failed else ""
        bar = "#" * done + "." * (_WIDTH - done)
        end = "\n" if self._count >= self._total else ""
        text = f"\r\x1b[K[{bar}] {self._count}/{self._total}{failed}{end}"
        print(text, end="", file=self._stream, flush=True)


class Bytes:
    """How much a dump or a restore has moved, on a terminal; nothing elsewhere.

    Args:
        stream: Where to draw.
        what: What stands before the number.
    """

    def __init__(self, stream: TextIO, what: str) -> None:
        self._stream = stream
        self._what = what
        self._shown = stream.isatty()
        self._count = 0
        self._drawn = 0.0

    def add(self, count: int) -> None:
        """Count a piece."""
        self._count += count
        if self._shown and time.monotonic() - self._drawn >= _EVERY:
            self._drawn = time.monotonic()
            text = f"\r\x1b[K{self._what}: {self._count / 1e6:.1f} MB"
            print(text, end="", file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown and self._drawn:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def progress_on(stream: TextIO) -> Progress:
    """Return a bar if the stream is a terminal, else lines."""
    return Bar(stream) if stream.isatty() else Lines(stream)
