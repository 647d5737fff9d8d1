"""A request's id and its one access line, for any ASGI application."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from mtenant_logger.context import log_context
from mtenant_logger.logger import Logger, get_logger
from mtenant_logger.trace import parse_traceparent

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What another program may choose as an id that then stands in all our lines and in our answer.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class AccessLogMiddleware:
    """Gives each request an id, and writes one line when it has ended, however it ended.

    The id is that of an outer middleware (`scope["state"]["request_id"]`), or of the header
    `X-Request-ID` if that is harmless (up to 128 letters, digits and `._:-`), or a new one. It is
    in `scope["state"]["request_id"]`, in the response's `X-Request-ID`, and in every line that is
    logged meanwhile, along with the trace id of a W3C `traceparent` header where OpenTelemetry
    does not give one.

    The line has `method`, `path` (without the query string, which may hold secrets), `status`,
    `duration_ms`, `client` (the peer's address) and `outcome`: `completed`, `failed` (an exception
    passed), `disconnected` (the client went first) or `cancelled`. It is an error from status 500
    on and for an exception, else info. What is not known is left out. `tenant_id` and `user_id`
    are taken from `scope["state"]` if an inner layer has put them there.

    Switch off the server's own access log: `uvicorn.run(app, log_config=None, access_log=False)`.

    Args:
        app: the application.
        logger: writes the lines; one called `mtenant_logger.access` by default.
    """

    def __init__(self, app: App, logger: Logger | None = None) -> None:
        self._app = app
        self._log = get_logger("mtenant_logger.access") if logger is None else logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the lifespan."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        state = scope.setdefault("state", {})
        request_id = _request_id(state.get("request_id"), headers.get(b"x-request-id", b""))
        state["request_id"] = request_id
        trace_id = parse_traceparent(headers.get(b"traceparent", b"").decode("latin-1"))
        exchange = _Exchange(request_id, receive, send)
        with log_context(request_id=request_id, trace_id=trace_id):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except asyncio.CancelledError:
                self._write(scope, exchange, "cancelled")
                raise
            except BaseException as exc:
                self._write(scope, exchange, "failed", exc)
                raise
            self._write(scope, exchange, "completed")

    def _write(
        self, scope: Scope, exchange: _Exchange, outcome: str, err: BaseException | None = None
    ) -> None:
        if outcome == "completed" and not exchange.complete and exchange.disconnected:
            outcome = "disconnected"
        status = 500 if err is not None and exchange.status is None else exchange.status
        client, state = scope.get("client"), scope["state"]
        tags = {
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope.get("path"),
            "status": status,
            "duration_ms": round((time.perf_counter() - exchange.started) * 1000, 3),
            "client": client[0] if client else None,
            "outcome": outcome,
            "user_id": state.get("user_id"),
        }
        tags = {name: value for name, value in tags.items() if value is not None}
        with log_context(tenant_id=state.get("tenant_id")):
            if err is not None or (status is not None and status >= 500):
                self._log.error("request", err=err, **tags)
            else:
                self._log.info("request", **tags)


class _Exchange:
    """Watches what passes between the server and the application."""

    def __init__(self, request_id: str, receive: Receive, send: Send) -> None:
        self.started = time.perf_counter()
        self.status: int | None = None
        self.complete = False
        self.disconnected = False
        self._header = (b"x-request-id", request_id.encode())
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] in {"http.disconnect", "websocket.disconnect"}:
            self.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in {"http.response.start", "websocket.accept"}:
            self.status = message.get("status", 101)
            others = [
                pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"
            ]
            message = {**message, "headers": [*others, self._header]}
        elif kind == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        elif kind == "websocket.close":
            self.complete = True
            self.status = 403 if self.status is None else self.status
        await self._send(message)


def _request_id(outer: object, header: bytes) -> str:
    for candidate in (outer, header.decode("latin-1")):
        if isinstance(candidate, str) and _REQUEST_ID.fullmatch(candidate):
            return candidate
    return os.urandom(16).hex()
