"""A server to connect to, one that refuses, one that falls silent; and a pool that is open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

Conn: TypeAlias = AsyncConnection[Any]
PoolType: TypeAlias = type[AsyncConnectionPool[Any]]


@pytest.fixture
def dsn(place: Any) -> str:
    return str(place.app)


@pytest.fixture
def dead_url(dsn: str) -> Iterator[str]:
    """A server that refuses: its port is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        yield urlsplit(dsn)._replace(netloc=f"nobody@127.0.0.1:{port}").geturl()


class SilentProxy:
    """A proxy before the server that can stop to speak to those who are connected."""

    def __init__(self, upstream: str) -> None:
        self._parts = urlsplit(upstream)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.next_client = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> SilentProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"{self._parts.username}@127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def silence(self) -> None:
        self.next_client.clear()
        for task in self._tasks:
            task.cancel()  # the sockets stay open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.next_client.set()
        upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers += [writer, upstream[1]]

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            self._tasks.add(asyncio.create_task(copy(source, sink)))


@pytest.fixture
def silent_proxy() -> type[SilentProxy]:
    return SilentProxy


@asynccontextmanager
async def _open(cls: PoolType, dsn: Any, **options: Any) -> AsyncIterator[Any]:
    usual: dict[str, Any] = {"min_size": 1, "kwargs": {"autocommit": True}}
    async with cls(dsn, open=False, **usual | options) as pool:
        await pool.wait()
        yield pool


@pytest.fixture
def opened() -> Any:
    """Open a pool of either class; its connections commit by themselves."""
    return _open


async def _terminate(place: Any, conn: Conn) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_reader(conn.pgconn.socket, told.set)
    place.run(f"select pg_terminate_backend({conn.info.backend_pid})")
    await asyncio.wait_for(told.wait(), 10)
    loop.remove_reader(conn.pgconn.socket)


@pytest.fixture
def terminate() -> Any:
    """Let the server close a connection, and wait until the client has been told."""
    return _terminate


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture
def turns() -> Any:
    """Let the event loop go round so many times."""
    return _turns
