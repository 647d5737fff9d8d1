"""Writing to a file descriptor without ever waiting for whoever reads it.

`O_NONBLOCK` belongs to the open file, which standard output shares with the parent process and its
other children: setting it there breaks them. So each kind of file has a way of its own:

- A pipe or terminal is opened once more through `/proc/self/fd` (Linux), which gives an open file of
  our own with a flag of our own.
- A socket takes `MSG_DONTWAIT` at each call.
- Where a pipe cannot be opened again, `poll` says whether `PIPE_BUF` bytes fit, and no more than
  these are written at once. If another process fills the pipe in the instant between, the write
  waits for the reader: this is the one case in which it can.
- A regular file and `/dev/null` are written to directly: there is no reader to wait for.

In each case the descriptor is our own copy. If the program closes number 1 and the number then
belongs to a database connection, no log line goes there.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial


class Descriptor:
    """A copy of a file descriptor with a `write` that does not wait.

    Attributes:
        write: takes bytes and returns how many of them were taken. Raises BlockingIOError if none
            can be taken now, another OSError if the other end is gone or the disk is full.

    Raises:
        OSError: `number` is not an open descriptor.
    """

    def __init__(self, number: int) -> None:
        self.write: Callable[[bytes], int]
        self._socket: socket.socket | None = None
        mode = os.fstat(number).st_mode
        if stat.S_ISSOCK(mode):
            self._number = os.dup(number)
            own = self._socket = socket.socket(fileno=self._number)
            self.write = lambda data: own.send(data, socket.MSG_DONTWAIT)
        elif stat.S_ISFIFO(mode) or os.isatty(number):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                self._number = os.open(f"/proc/self/fd/{number}", flags)
                self.write = partial(os.write, self._number)
            except OSError:  # no /proc, no permission, or no reader left
                self._number = os.dup(number)
                self.write = self._write_if_ready
        else:
            self._number = os.dup(number)
            self.write = partial(os.write, self._number)

    def wait(self, seconds: float) -> None:
        """Return when there is room, when the other end is gone, or after so many seconds."""
        poller = select.poll()
        poller.register(self._number, select.POLLOUT)
        poller.poll(max(0.0, seconds) * 1000)

    def close(self) -> None:
        """Close the copy."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._number)

    def _write_if_ready(self, data: bytes) -> int:
        poller = select.poll()
        poller.register(self._number, select.POLLOUT)
        if not poller.poll(0):
            raise BlockingIOError
        return os.write(self._number, data[: select.PIPE_BUF])
