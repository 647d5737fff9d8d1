"""ErrorMiddleware: every exception that leaves an ASGI app becomes a problem.

```python
app.add_middleware(ErrorMiddleware)        # Starlette, FastAPI
app = ErrorMiddleware(app)                 # any ASGI app
```

In Starlette and FastAPI it sees what no exception handler of the app has answered; it stands inside
their own last resort, the plain text 500, which is then never reached. Middleware that adds fields to
every response (CORS, a request id) belongs outside of it, so it is added after it. An exception handler
may raise too: so a FastAPI app gives its validation errors the same shape.

```python
@app.exception_handler(RequestValidationError)
async def invalid(request: Request, exc: RequestValidationError) -> Response:
    raise BadRequest(code=codes.VALIDATION_FAILED, errors=exc.errors()) from exc
```
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

from mtenant_errors import text
from mtenant_errors.conversion import from_exception
from mtenant_errors.exceptions import AppError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger("mtenant_errors.asgi")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PATH_LIMIT = 2048
_CHAIN_LIMIT = 32


class ErrorMiddleware:
    """Answer exceptions with RFC 9457 problems, and log them at the level that the table gives.

    The body holds what the error says to callers and nothing else; its `request_id` is
    `scope["state"]["request_id"]`, or a new one that is put there. The log line has the same id, the
    `internal` texts of the whole chain and, from 500 on, the traceback. A HEAD request gets no body.

    An exception after the response has started is logged and raised again, so that the server drops the
    connection and the client sees that the answer is not whole. `asyncio.CancelledError`,
    `KeyboardInterrupt` and `SystemExit` pass, and so do websocket and lifespan scopes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, and answer in its place if it raises."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Made here, so that the request id arrives even if the app works on a copy of the scope.
        scope.setdefault("state", {})
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as exc:
            if started:
                _log_broken(exc, scope)
                raise
            await _answer(exc, scope, send)


async def _answer(exc: Exception, scope: Scope, send: Send) -> None:
    err = from_exception(exc)
    request_id = _request_id(scope)
    _log(err, exc, scope, request_id)
    body = err.to_problem_json(instance=instance_of(scope), request_id=request_id).encode("ascii")
    fields = {**err.to_headers(), "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": err.status_code,
            "headers": [(k.encode("ascii"), v.encode("ascii")) for k, v in fields.items()],
        }
    )
    if scope["method"] == "HEAD":  # it gets the fields of the body that it does not get
        body = b""
    await send({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    state = scope["state"]
    request_id = state.get("request_id") if isinstance(state, Mapping) else None
    if isinstance(request_id, str) and request_id:
        return text.clean(request_id, text.VALUE_LIMIT)
    request_id = os.urandom(16).hex()
    if isinstance(state, MutableMapping):
        state["request_id"] = request_id
    return request_id


def instance_of(scope: Scope) -> str | None:
    """Return the `instance` of a problem, a URI reference (RFC 9457, 3.1.5); None if it is too long."""
    # Without the query: people put tokens there.
    path = scope["path"]
    return (
        quote(path, safe="/:@!$&'()*+,;=~", errors="replace") if len(path) <= _PATH_LIMIT else None
    )


def _log(err: AppError, exc: Exception, scope: Scope, request_id: str) -> None:
    told = f"{_request(scope)} -> {err.status_code} {err.code}: {err.message}"
    internals = list(_internals(err))
    if internals:
        told += f" [{'; '.join(internals)}]"
    _logger.log(
        err.kind.log_level,
        "%s",
        _one_line(told),
        exc_info=exc if err.status_code >= 500 else None,
        extra={"request_id": request_id, "code": err.code, "status_code": err.status_code},
    )


def _log_broken(exc: Exception, scope: Scope) -> None:
    _logger.error(
        "%s failed after its response had started; the connection is dropped",
        _one_line(_request(scope)),
        exc_info=exc,
        extra={"request_id": _request_id(scope)},
    )


def _request(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:_PATH_LIMIT]}"


def _internals(err: BaseException | None) -> Iterator[str]:
    for _ in range(_CHAIN_LIMIT):
        if err is None:
            return
        if isinstance(err, AppError) and err.internal:
            yield err.internal
        err = err.__cause__


def _one_line(told: str) -> str:
    # A line break in a path must not look like a second record, and a lone surrogate must not
    # make the handler lose the record.
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], told)
