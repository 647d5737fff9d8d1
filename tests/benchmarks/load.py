"""A load generator: connections that are kept, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Load:
    """Sends requests over some connections. `async with` it.

    Args:
        url: What is asked for.
        headers: Sent with each request.
        connections: How many ask at once.
        body: Makes the body of each POST; None to GET.
    """

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        connections: int,
        body: Callable[[], bytes] | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._where = parts.hostname or "", parts.port or 80
        fields = {"host": parts.netloc, **headers}
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._head = "\r\n".join([*lines, ""]).encode()
        self._body = body
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

    def _request(self) -> bytes:
        if self._body is None:
            return self._head + b"\r\n"
        body = self._body()
        kind = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        return self._head + kind + body

    async def send(self, n: int) -> None:
        """Send so many requests in all, and return when each was answered well."""
        numbers = iter(range(n))

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in numbers:
                writer.write(self._request())
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 20"):
                    raise RuntimeError(head.decode())
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))

        await asyncio.gather(*(one(*connection) for connection in self._open))
