"""BodyLimitMiddleware: a request body ends where the limit is, whatever Content-Length says.

A route may take more than others:

```python
@router.post("/import", dependencies=[requires("contacts:write"), body_limit(20 * 1024 * 1024)])
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtenant_chassis.auth.middleware import ASGIApp, Message, Receive, Scope, Send
from mtenant_chassis.mark import Mark
from mtenant_errors import PayloadTooLarge

_KEY = "mtenant_chassis.max_body"


class BodyTooLarge(PayloadTooLarge):
    """The body is larger than this route takes."""

    code, message = "BODY_TOO_LARGE", "the request body is larger than {limit} bytes"


@dataclass(frozen=True)
class BodyLimit(Mark):
    """A route's own limit.

    Attributes:
        size: The largest body, in bytes.
    """

    size: int

    def apply(self, scope: Scope) -> None:
        """Set the limit of a request."""
        scope[_KEY] = self.size


def body_limit(size: int) -> Any:
    """Set a route's own limit; for its `dependencies=[...]`.

    Args:
        size: The largest body, in bytes.
    """
    return BodyLimit(size)


class BodyLimitMiddleware:
    """Raise `BodyTooLarge` (413) when more of a body is read than a route takes.

    A body that says in advance that it is too large is not read at all. A connection on which more
    would come than a route takes is closed with the answer (RFC 9110, 15.5.14): the server would read on
    for as long as the client sends.

    Args:
        app: The app inside, which answers errors.
        size: The largest body of routes that say nothing, in bytes.
    """

    def __init__(self, app: ASGIApp, *, size: int) -> None:
        self.app = app
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, and count what it reads."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = _length(scope)
        read, ended = 0, False

        async def counted() -> Message:
            nonlocal read, ended
            limit = scope.get(_KEY, self._size)
            if told is not None and told > limit:
                raise BodyTooLarge(limit=limit)
            message = await receive()
            ended = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                raise BodyTooLarge(limit=limit)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                endless = told is None or told > scope.get(_KEY, self._size)
                if endless and scope["http_version"].startswith("1"):
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, counted, closing)


def _length(scope: Scope) -> int | None:
    """Return how long the body says that it is; None for one that says nothing (chunked)."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length" and value.isdigit():
            length = int(value[:20])
    return length
