"""A gateway: one address for several processes of a service, as a load balancer is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Sequence

from mtenant_devstack.errors import DevstackError
from mtenant_devstack.ports import LOOPBACK

PIECE = 65536  # bytes that are passed on at a time


class Gateway:
    """Passes each connection on to the next process, and over one that does not listen.

    Args:
        port: where it listens itself.
        targets: the ports of the processes.

    Attributes:
        passed: how many connections each process got, in the order of `targets`.
    """

    def __init__(self, port: int, targets: Sequence[int]) -> None:
        self._port = port
        self._targets = targets
        self._turns = itertools.count()
        self._running: set[asyncio.Task[None]] = set()  # a loop itself keeps no task alive
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.passed = [0] * len(targets)

    def open(self) -> None:
        """Listen from now on.

        Raises:
            DevstackError: another program has its port.
        """
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise DevstackError(f"no gateway at port {self._port}") from self._failure

    def close(self) -> None:
        """Cut every connection off."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except OSError as exc:  # told to whoever waits for the start
                self._failure = exc
            finally:
                self._started.set()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._take, LOOPBACK, self._port)
        self._started.set()
        await self._over.wait()
        server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be between a caller and the process whose turn it is, until both have ended."""
        with contextlib.closing(writer):
            there = await self._next()
            if there is None:
                return
            with contextlib.closing(there[1]):
                await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))

    async def _next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        turn = next(self._turns)
        for number in range(turn, turn + len(self._targets)):
            which = number % len(self._targets)
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection(LOOPBACK, self._targets[which])
                self.passed[which] += 1
                return there
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes; the end of it too, which may be that of a process that was killed."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
