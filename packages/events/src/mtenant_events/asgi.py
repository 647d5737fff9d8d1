"""BusMiddleware: a bus for as long as an app runs.

```python
@asynccontextmanager
async def events():
    async with EventBus.connect(EventsConfig.from_env()) as bus:
        bus.include(subscriptions, service="deals", unit_of_work=unit_of_work)
        yield bus

app.add_middleware(BusMiddleware, events=events)      # Starlette, FastAPI
app = BusMiddleware(app, events=events)               # any ASGI app
```

The bus is `scope["state"]["events"]` (`request.state.events`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias

from mtenant_errors import AppError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Events: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]

logger = logging.getLogger(__name__)


class BusMiddleware:
    """Open a bus when the server starts the app, and close it when the server stops it.

    An app inside that knows nothing of the ASGI lifespan (2.0) works too. The bus is there before the
    app inside starts, and closed after it has stopped.

    Args:
        app: The app inside.
        events: Opens the bus; what it yields is put into the state.
    """

    def __init__(self, app: ASGIApp, *, events: Events) -> None:
        self.app = app
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                bus = await stack.enter_async_context(self._events())
            except Exception as exc:
                logger.exception("the event bus cannot be opened")
                await send({"type": "lifespan.startup.failed", "message": _text(exc)})
                return
            scope.setdefault("state", {})["events"] = bus
            lifespan = _Lifespan(receive, send, stack)
            try:
                await self.app(scope, lifespan.receive, lifespan.send)
            except Exception:
                if lifespan.answered:
                    raise
                # It has no lifespan of its own, as the specification lets it say.
            await lifespan.finish()


class _Lifespan:
    """Stands between server and app, and keeps back the app's last word until the bus is closed."""

    def __init__(self, receive: Receive, send: Send, stack: AsyncExitStack) -> None:
        self._receive = receive
        self._send = send
        self._stack = stack
        self._begun = False
        self._stopping = False
        self._ended = False
        self.answered = False

    async def receive(self) -> Message:
        if not self._begun:
            self._begun = True
            return {"type": "lifespan.startup"}
        message = await self._receive()
        self._stopping = True
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        if message["type"] == "lifespan.startup.failed":
            self._ended = True
        if message["type"].startswith("lifespan.shutdown."):
            await self._close(message)
            return
        await self._send(message)

    async def finish(self) -> None:
        """Say for the app what it has not said."""
        if self._ended:
            return
        if not self.answered:
            await self._send({"type": "lifespan.startup.complete"})
        if not self._stopping:
            await self._receive()  # lifespan.shutdown
        await self._close({"type": "lifespan.shutdown.complete"})

    async def _close(self, message: Message) -> None:
        self._ended = True
        try:
            await self._stack.aclose()
        except Exception as exc:
            logger.exception("the event bus cannot be closed")
            message = {"type": "lifespan.shutdown.failed", "message": _text(exc)}
        await self._send(message)


def _text(exc: Exception) -> str:
    # What a library says may hold a URL with a password; our own errors never do.
    return (
        f"{type(exc).__name__}: {exc.internal}" if isinstance(exc, AppError) else type(exc).__name__
    )
