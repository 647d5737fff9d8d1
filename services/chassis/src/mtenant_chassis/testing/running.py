"""An app at work: called without a network, or served on a port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx2 as httpx
from fastapi import FastAPI

from mtenant_chassis.serve import Server
from mtenant_chassis.settings import Settings

_DEADLINE: Final = 30.0


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app's lifespan, and yield a client that calls it without a network.

    A fault of the app that would be a 500 is one here, too, and not an exception of the test.
    """
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


@asynccontextmanager
async def serving(
    app: FastAPI, settings: Settings, *, port: int = 0
) -> AsyncIterator[tuple[str, Server]]:
    """Serve an app on a port of this machine, a free one by default; yield its URL and the server."""
    # By its protocol asyncio knows a TCP socket, and sends each answer at once (TCP_NODELAY).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        free.listen(128)
        server = Server(app, settings)
        task = asyncio.create_task(server._serve([free]))
        try:
            async with asyncio.timeout(_DEADLINE):
                while not server.started:
                    if task.done():
                        await task
                    await asyncio.sleep(0.005)
            host, port = free.getsockname()
            yield f"http://{host}:{port}", server
        finally:
            server.should_exit = True
            await task
