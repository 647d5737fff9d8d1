"""One borrowing of a connection: since when, and from where."""

from __future__ import annotations

import contextlib
import sys
import traceback
from asyncio import TimerHandle
from itertools import islice
from pathlib import Path
from time import monotonic
from types import CodeType, FrameType
from typing import Final

import psycopg_pool

_DEPTH: Final = 16
# Between the borrower and here; not where anybody looks for a leak.
_PLUMBING: Final = (
    str(Path(psycopg_pool.__file__).parent),
    contextlib.__file__,
    str(Path(__file__).with_name("pool.py")),
    __file__,
)


class Loan:
    """Remembers the borrower's stack, cheaply: code and position, no frames and no text.

    A frame would keep the borrower's variables alive.
    """

    __slots__ = ("_places", "ended", "overdue", "since", "timer")

    def __init__(self) -> None:
        self.since = monotonic()
        self.timer: TimerHandle | None = None
        self.overdue = False
        self.ended = False
        places: list[tuple[CodeType, int]] = []
        # At every loan: no more than this is done before anybody wants to read it.
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and len(places) < _DEPTH:
            places.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
        self._places = places

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return monotonic() - self.since

    def where(self) -> str:
        """Return the stack as text, the borrower last, as a traceback has it."""
        summary = traceback.StackSummary.from_list(
            [
                (code.co_filename, _line(code, instruction), code.co_qualname, None)
                for code, instruction in reversed(self._places)
                if not code.co_filename.startswith(_PLUMBING)
            ]
        )
        return "".join(summary.format())

    def end(self) -> None:
        """Stop the clock."""
        self.ended = True
        if self.timer is not None:
            self.timer.cancel()


def _line(code: CodeType, instruction: int) -> int:
    position = next(islice(code.co_positions(), instruction // 2, None), (None,))
    return position[0] or code.co_firstlineno
