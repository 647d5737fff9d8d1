"""A limit on the wait for a server that no longer answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from psycopg import AsyncConnection, Error


@contextmanager
def cut_off_after(seconds: float, conn: AsyncConnection[Any]) -> Iterator[None]:
    """Shut the connection's socket down if the block takes longer; the block sees OperationalError.

    Cancelling the wait instead would make psycopg send a cancel request and wait for its answer,
    10 s in all, on a network that has just shown that it answers nothing.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _shut_down, conn)
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(conn: AsyncConnection[Any]) -> None:
    # A twin of the descriptor: libpq keeps and closes its own.
    with suppress(OSError, Error), socket.socket(fileno=os.dup(conn.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)
