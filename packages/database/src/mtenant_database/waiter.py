"""A place in the pool's queue that is served in one step."""

# ruff: noqa: ASYNC109 -- the signatures are psycopg_pool's

from __future__ import annotations

import asyncio

from psycopg_pool import PoolTimeout
from psycopg_pool.abc import ACT
from psycopg_pool.pool_async import WaitingClient


class Waiter(WaitingClient[ACT]):
    """Takes the place of psycopg_pool's waiting client, whose hand-over can be cancelled halfway.

    That one is a condition: to serve it is to wait for its lock, and whoever is cancelled there has
    taken the waiter off the queue and not given it the connection. A future is served or not.
    """

    __slots__ = ("_served",)

    def __init__(self) -> None:
        self.conn: ACT | None = None
        self.error: BaseException | None = None
        self._served: asyncio.Future[ACT] = asyncio.get_running_loop().create_future()

    async def wait(self, timeout: float) -> ACT:
        """Return the connection once it is given; `conn` has it too, should this be cancelled then.

        Raises:
            PoolTimeout: None was given within `timeout` seconds.
        """
        timer = asyncio.get_running_loop().call_later(timeout, self._expire, timeout)
        try:
            return await self._served
        except BaseException:
            if self._served.done() and not self._served.cancelled():
                self._served.exception()  # seen: asyncio does not warn that nobody looked at it
            raise
        finally:
            timer.cancel()

    def give(self, conn: ACT) -> bool:
        """Give the connection; False when nobody waits here any more."""
        if self._served.done():
            return False
        self.conn = conn
        self._served.set_result(conn)
        return True

    async def set(self, conn: ACT) -> bool:
        """Do as `give` does, under the name that psycopg_pool calls."""
        return self.give(conn)

    async def fail(self, error: Exception) -> bool:
        """Let the wait end with an error; False when nobody waits here any more."""
        if self._served.done():
            return False
        self.error = error
        self._served.set_exception(error)
        return True

    def _expire(self, timeout: float) -> None:
        if not self._served.done():
            error = PoolTimeout(f"couldn't get a connection after {timeout:.2f} sec")
            self._served.set_exception(error)
