"""A load generator: connections that are kept, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Load:
    """Sends one request many times over some connections. `async with` it.

    Args:
        url: What is got.
        headers: Sent with each request.
        connections: How many ask at once.
    """

    def __init__(self, url: str, headers: dict[str, str], connections: int) -> None:
        parts = urlsplit(url)
        self._where = parts.hostname or "", parts.port or 80
        fields = {"host": parts.netloc, **headers}
        lines = [f"GET {parts.path} HTTP/1.1", *(f"{name}: {v}" for name, v in fields.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._count = connections
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        self._open = [await asyncio.open_connection(*self._where) for _ in range(self._count)]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, writer in self._open:
            writer.close()

    async def send(self, n: int) -> None:
        """Send so many requests in all, and return when each was answered with 200."""
        numbers = iter(range(n))

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in numbers:
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(head.decode())
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))

        await asyncio.gather(*(one(*connection) for connection in self._open))
