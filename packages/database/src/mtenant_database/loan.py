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

_DEPTH: Final = 12
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

    __slots__ = ("_codes", "_instructions", "ended", "overdue", "since", "timer")

    def __init__(self) -> None:
        self.since = monotonic()
        self.timer: TimerHandle | None = None
        self.overdue = False
        self.ended = False
        codes: list[CodeType] = []
        instructions: list[int] = []
        # At every loan: no more than this is done before anybody wants to read it, and no pairs
        # are made, which the garbage collector would have to count.
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and len(codes) < _DEPTH:
            codes.append(frame.f_code)
            instructions.append(frame.f_lasti)
            frame = frame.f_back
        self._codes, self._instructions = codes, instructions

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return monotonic() - self.since

    def where(self) -> str:
        """Return the stack as text, the borrower last, as a traceback has it."""
        places = list(zip(self._codes, self._instructions, strict=True))
        summary = traceback.StackSummary.from_list(
            [
                (code.co_filename, _line(code, instruction), code.co_qualname, None)
                for code, instruction in reversed(places)
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
