"""Lines to a file descriptor: at once if it takes them, else from a bounded backlog, all counted."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mtenant_logger.descriptor import Descriptor
from mtenant_logger.levels import NAMES, WARNING, LevelName

BACKLOG_BYTES: Final = 8 * 1024 * 1024
"""Bytes that lines of any level may occupy while the reader does not read."""

RESERVE_BYTES: Final = 8 * 1024 * 1024
"""Bytes beyond these that only lines of warning and above may occupy."""

FLUSH_SECONDS: Final = 2.0
"""How long `flush` waits for the reader, also at exit and at `fatal`."""

# Nothing is queued or begun, so a line may be written at once; a write is on its way, on this very
# thread; or lines have to queue behind others.
_CLEAR: Final = 0
_WRITING: Final = 1
_QUEUED: Final = 2

_NOTICE_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 1.0

Counts = dict[LevelName, int]


@dataclass(frozen=True)
class Stats:
    """What has become of the lines of this process, by level.

    Attributes:
        written: lines that the descriptor took in full.
        dropped: lines that were not written: the backlog was full, the reader gone, the disk full,
            or the line could not be made.
        queued: lines that wait in the backlog.
    """

    written: Counts
    dropped: Counts
    queued: Counts

    @property
    def submitted(self) -> Counts:
        """Return how many calls there were at an enabled level: written, dropped and queued."""
        return {
            level: self.written[level] + self.dropped[level] + self.queued[level]
            for level in NAMES.values()
        }


class Writer:
    """Writes lines in order and never waits for the reader.

    A call costs at most one write that does not wait, of one line, and the lock around it. While
    the descriptor takes nothing, lines go to a backlog that a thread empties; the thread exists
    only as long as there is one. What does not fit is dropped and counted, and a line says so once
    there is room. After a fork the child starts with no backlog and all counters at zero: what was
    submitted before is the parent's to write.

    Args:
        number: the descriptor. One that is not open is no error: every line is then a drop.
        notice: makes the line that tells how many were dropped since the last one.
        backlog: bytes for lines of any level.
        reserve: further bytes for warning and above.
    """

    _lock: threading.RLock
    _thread: threading.Thread | None
    _phase: int
    _behind: bool  # something was queued or dropped since the queue was last empty
    _torn: bool  # what was written last is half a line
    _queue: deque[tuple[int | Counter[int], bytes]]  # a line has a level, a notice what it tells
    _queued_bytes: int
    _head_sent: int  # bytes of the first line in the queue that are written
    _written: dict[int, int]
    _dropped: dict[int, int]
    _unannounced: Counter[int]
    _next_notice: float
    _mute: bool  # the last notice failed; the next one waits for a line that does not

    def __init__(
        self,
        number: int,
        *,
        notice: Callable[[Counts], bytes] = lambda dropped: b"",
        backlog: int = BACKLOG_BYTES,
        reserve: int = RESERVE_BYTES,
    ) -> None:
        self._notice = notice
        self._limits = {level: backlog + (reserve if level >= WARNING else 0) for level in NAMES}
        self._number = number
        self._descriptor: Descriptor | None = None
        self._send: Callable[[bytes], int] = self._send_first
        self._torn = False
        self._start_anew()
        _writers.add(self)

    def open(self) -> None:
        """Take a copy of the descriptor; else the first line does."""
        with self._lock:
            if self._send == self._send_first:
                # An OSError is a standard output that was closed before the program began.
                self._send = _refuse
                with contextlib.suppress(OSError):
                    self._descriptor = Descriptor(self._number)
                    self._send = self._descriptor.write

    def write(self, level: int, line: bytes) -> None:
        """Write a line, or queue it, or drop it; returns at once and raises no `Exception`."""
        with self._lock:
            if self._phase is not _CLEAR:
                self._enqueue(level, line)
                return
            # A signal handler or a finalizer may log on this very thread before we are done. Its
            # line has to queue, or it would stand between two parts of this one.
            self._phase = _WRITING
            try:
                sent = self._send(line)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = -1
            except BaseException:
                self._phase = _QUEUED
                raise
            if sent == len(line):
                self._written[level] += 1
                self._phase = _CLEAR
                if self._behind:
                    self._mute = False
                    self._start_draining()
            elif sent < 0:
                self._phase = _CLEAR
                self._drop(level)
            else:
                self._head_sent = sent
                self._queue.appendleft((level, line))
                self._queued_bytes += len(line)
                self._start_draining()

    def lose(self, level: int) -> None:
        """Count a call whose line could not be made as dropped."""
        with self._lock:
            self._drop(level)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Write the backlog, waiting for the reader at most so long; True if nothing is left."""
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                if (
                    self._phase is _WRITING
                ):  # called by a signal handler amid a write of this very thread
                    return False
                state = self._advance()
            if state is _State.EMPTY:
                return True
            if time.monotonic() >= deadline:
                return False
            if state is _State.BLOCKED:
                self._wait(deadline - time.monotonic())

    def stats(self) -> Stats:
        """Return the counters, all of one moment."""
        with self._lock:
            queued = Counter(level for level, _ in self._queue if isinstance(level, int))
            return Stats(
                written={name: self._written[level] for level, name in NAMES.items()},
                dropped={name: self._dropped[level] for level, name in NAMES.items()},
                queued={name: queued[level] for level, name in NAMES.items()},
            )

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Flush, count what is left as dropped, and let go of the descriptor."""
        self.flush(seconds)
        with self._lock:
            for level, _ in self._queue:
                if isinstance(level, int):
                    self._drop(level)
            self._forget_queue()
            self._send = _refuse
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            descriptor.close()

    def _send_first(self, data: bytes) -> int:
        self.open()
        return self._send(data)

    def _enqueue(self, level: int, line: bytes) -> None:
        if self._queued_bytes + len(line) > self._limits[level]:
            self._drop(level)
        else:
            self._queue.append((level, line))
            self._queued_bytes += len(line)
            self._behind = True
        if self._phase is not _WRITING:
            self._start_draining()

    def _drop(self, level: int) -> None:
        self._dropped[level] += 1
        self._unannounced[level] += 1
        self._behind = True

    def _advance(self) -> _State:
        """Send what can be sent of the first line in the queue; the lock is held."""
        if not self._queue:
            self._announce_drops()
        if not self._queue:
            self._behind = bool(self._unannounced)
            self._phase = _QUEUED if self._torn else _CLEAR
            return _State.EMPTY
        level, line = self._queue[0]
        # What was begun and cannot be finished is ended, so that the next line stands alone.
        rest = b"\n" if self._torn else line[self._head_sent :]
        self._phase = _WRITING
        try:
            sent = self._send(rest)
        except BlockingIOError:
            return _State.BLOCKED
        except OSError:
            self._torn = self._torn or self._head_sent > 0
            self._shift()
            if isinstance(level, int):
                self._drop(level)
            else:
                self._unannounced.update(level)
                self._mute = True
            return _State.MOVED
        finally:
            self._phase = _QUEUED
        if self._torn:
            self._torn = sent == 0
            return _State.MOVED
        self._head_sent += sent
        if self._head_sent == len(line):
            self._shift()
            if isinstance(level, int):
                self._written[level] += 1
                self._mute = False
                # While a reader is always late the backlog is never empty.
                if time.monotonic() >= self._next_notice:
                    self._announce_drops()
        return _State.MOVED

    def _announce_drops(self) -> None:
        """Queue a notice of what was dropped, unless the last one failed for want of a reader."""
        if not self._unannounced or self._mute:
            return
        self._next_notice = time.monotonic() + _NOTICE_SECONDS
        told, self._unannounced = self._unannounced, Counter()
        with contextlib.suppress(Exception):  # the counters know all the same
            notice = self._notice({NAMES[level]: told[level] for level in sorted(told)})
            self._queue.append((told, notice))
            self._queued_bytes += len(notice)

    def _shift(self) -> None:
        _, line = self._queue.popleft()
        self._queued_bytes -= len(line)
        self._head_sent = 0

    def _start_draining(self) -> None:
        self._phase = _QUEUED
        if self._thread is None:
            thread = self._thread = threading.Thread(
                target=self._drain, name="mtenant-logger", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                self._thread = None

    def _drain(self) -> None:
        while True:
            with self._lock:
                state = self._advance()
                if state is _State.EMPTY:
                    self._thread = None
                    return
            if state is _State.BLOCKED:
                self._wait(_WAIT_SECONDS)

    def _wait(self, seconds: float) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                descriptor.wait(seconds)

    def _start_anew(self) -> None:
        # One thread may come here twice, from a signal handler or a finalizer, so it is re-entrant.
        self._lock = threading.RLock()
        self._thread = None
        self._written = dict.fromkeys(NAMES, 0)
        self._dropped = dict.fromkeys(NAMES, 0)
        self._unannounced = Counter()
        self._next_notice = 0.0
        self._mute = False
        self._forget_queue()

    def _forget_queue(self) -> None:
        self._queue = deque()
        self._queued_bytes = 0
        self._head_sent = 0
        self._behind = False
        self._phase = _QUEUED if self._torn else _CLEAR

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        # If the parent had written half a line, the child's first one begins on a new one.
        self._torn = self._torn or self._head_sent > 0
        self._start_anew()


class _State(Enum):
    EMPTY = "empty"
    BLOCKED = "blocked"
    MOVED = "moved"


def _refuse(data: bytes) -> int:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _each(step: Callable[[Writer], None]) -> None:
    for writer in list(_writers):
        step(writer)


# At import, as the standard logging does: it cannot be undone, and a fork may happen while the very
# first line is on its way.
os.register_at_fork(
    before=lambda: _each(Writer._before_fork),
    after_in_parent=lambda: _each(Writer._after_fork_in_parent),
    after_in_child=lambda: _each(Writer._after_fork_in_child),
)
