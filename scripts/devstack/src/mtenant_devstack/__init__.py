"""Real PostgreSQL, NATS and Valkey from wheels, for tests and for a laptop.

>>> with Stack(["valkey"]) as stack:
...     stack.valkey.url.startswith("redis://127.0.0.1:")
True

Names are imported when they are first used: as a pytest plugin this package is loaded in every test
run, also in those that want no server, and before coverage measurement starts.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtenant_devstack.errors import (
        BinaryMissing,
        DevstackError,
        PortTaken,
        ServerFailed,
        WatcherDied,
    )
    from mtenant_devstack.server import Mode, Server
    from mtenant_devstack.stack import Stack
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mtenant_devstack import errors, server, stack  # noqa: PLC0415 -- see above

        return next(getattr(m, name) for m in (errors, server, stack) if hasattr(m, name))


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
