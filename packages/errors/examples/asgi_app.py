"""An ASGI app whose exceptions become problems, driven in this process without a server.

Run: python examples/asgi_app.py
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

from mtenant_errors import NotFound, TooManyRequests, Unauthorized
from mtenant_errors.asgi import ErrorMiddleware, Message, Receive, Scope, Send


async def contacts(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail in a way of its own on every path."""
    match scope["path"]:
        case "/contacts/7":
            raise NotFound("contact {id} not found", code="CONTACT_NOT_FOUND", id=7)
        case "/login":
            raise Unauthorized("the token has expired", code="TOKEN_EXPIRED")
        case "/export":
            raise TooManyRequests(retry_after=1.5)
        case _:
            # Foreign: its text goes to the log, the caller gets a plain 500.
            raise RuntimeError("shard 3 has lost its index")


async def get(path: str) -> None:
    """Send one GET request to the app and print the answer."""
    sent: list[Message] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "state": {"request_id": "r-1"}}
    await ErrorMiddleware(contacts)(scope, receive, send)
    start, body = sent
    print(f"GET {path} -> {start['status']}")
    for name, value in start["headers"]:
        print(f"    {name.decode()}: {value.decode()}")
    print(f"    {body['body'].decode()}")


async def main() -> None:
    """Call every path."""
    for path in ("/contacts/7", "/login", "/export", "/crash"):
        await get(path)


if __name__ == "__main__":
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="    log: %(levelname)s %(message)s"
    )
    asyncio.run(main())
