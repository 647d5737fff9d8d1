"""A step of the demo: a line with its time and what was seen, or an error that names it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mtenant_devstack.errors import DevstackError


@contextmanager
def step(name: str) -> Iterator[list[str]]:
    """Print one line at the end of the block: its time, its name, and what it put into the list.

    Raises:
        DevstackError: the block failed; the message begins with the name of the step.
    """
    began = time.perf_counter()
    notes: list[str] = []
    try:
        yield notes
    except ModuleNotFoundError as exc:
        advice = f"{exc.name} is not installed: pip install 'mtenant-devstack[demo]'"
        raise DevstackError(f"{name}: {advice}") from exc
    except Exception as exc:
        raise DevstackError(f"{name}: {str(exc) or type(exc).__name__}") from exc
    line = f"{name}: {', '.join(notes)}" if notes else name
    say(f"ok  {time.perf_counter() - began:6.2f} s  {line}")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def expect(expected: object, got: object) -> None:
    """Do nothing if both are equal.

    Raises:
        DevstackError: they are not.
    """
    if got != expected:
        raise DevstackError(f"expected {expected!r}, got {got!r}")
