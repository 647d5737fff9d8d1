"""One id and one line a request, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from mtenant_logger import current_request_id
from mtenant_logger.asgi import AccessLogMiddleware, App, Receive, Scope, Send
from mtenant_logger.testing import Recorder, RecordingLogger, assert_logged

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


def serve(
    app: App,
    headers: Iterable[tuple[bytes, bytes]] = (),
    incoming: Iterable[dict[str, Any]] = (),
    **scope: Any,
) -> tuple[RecordingLogger, list[dict[str, Any]], dict[str, Any]]:
    """Serve one request; return the log, what was sent, and the scope."""
    log = RecordingLogger()
    sent: list[dict[str, Any]] = []
    given: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/orders",
        "query_string": b"token=hunter2",
        "headers": list(headers),
        "client": ("1.2.3.4", 5),
        **scope,
    }
    messages = iter([*incoming, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(AccessLogMiddleware(app, log)(given, receive, send))
    return log, sent, given


def sent_id(sent: list[dict[str, Any]]) -> str:
    (value,) = [value for name, value in sent[0]["headers"] if name.lower() == b"x-request-id"]
    assert isinstance(value, bytes)
    return value.decode()


def test_a_request_is_one_line() -> None:
    log, sent, scope = serve(answer)

    (record,) = log.records
    assert record["level"] == "info"
    assert record["message"] == "request"
    assert {name: record[name] for name in ("method", "path", "status", "client", "outcome")} == {
        "method": "GET",
        "path": "/orders",
        "status": 201,
        "client": "1.2.3.4",
        "outcome": "completed",
    }
    assert record["duration_ms"] >= 0
    assert record["request_id"] == sent_id(sent) == scope["state"]["request_id"]
    assert b"hunter2" not in log.recorder.lines[0]
    assert (b"x-own", b"1") in sent[0]["headers"]


@pytest.mark.parametrize("good", ["a", "A-1._:b", "x" * 128])
def test_a_harmless_request_id_is_kept(good: str) -> None:
    log, sent, scope = serve(answer, [(b"X-Request-ID", good.encode())])

    assert log.records[0]["request_id"] == sent_id(sent) == scope["state"]["request_id"] == good


@pytest.mark.parametrize(
    "bad", ["", "x" * 129, "a b", "a\r\nset-cookie: x", "é", "<script>", "-a", "a\x00", "a\n"]
)
def test_a_request_id_that_could_do_harm_is_replaced(bad: str) -> None:
    log, sent, _ = serve(answer, [(b"x-request-id", bad.encode())])

    assert log.records[0]["request_id"] == sent_id(sent) != bad
    assert len(sent_id(sent)) == 32


def test_the_id_of_an_outer_middleware_wins() -> None:
    log, sent, scope = serve(answer, [(b"x-request-id", b"inner")], state={"request_id": "outer"})

    assert log.records[0]["request_id"] == sent_id(sent) == scope["state"]["request_id"] == "outer"


def test_an_id_that_the_application_sets_itself_is_not_sent_twice() -> None:
    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"own")]}
        )
        await send({"type": "http.response.body"})

    _, sent, _ = serve(own, [(b"x-request-id", b"theirs")])

    assert sent_id(sent) == "theirs"


def test_everything_inside_is_logged_with_the_ids() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_request_id())
        scope["state"] |= {"tenant_id": "acme", "user_id": "u-7"}
        await answer(scope, receive, send)

    log, _, _ = serve(
        app,
        [(b"x-request-id", b"r-1"), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())],
    )

    assert seen == ["r-1"]
    record = log.records[0]
    assert (record["trace_id"], record["tenant_id"], record["user_id"]) == (TRACE, "acme", "u-7")
    assert current_request_id() is None


def test_an_exception_is_logged_and_passes() -> None:
    log = RecordingLogger()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("gone")

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(LookupError):
        asyncio.run(AccessLogMiddleware(app, log)({"type": "http", "path": "/"}, nothing, nothing))

    (record,) = log.records
    assert (record["level"], record["status"], record["outcome"]) == ("error", 500, "failed")
    assert record["error"]["type"] == "LookupError"


def test_a_server_error_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503})
        await send({"type": "http.response.body"})

    log, _, _ = serve(app)

    assert (log.records[0]["level"], log.records[0]["outcome"]) == ("error", "completed")


def test_a_client_that_goes_first_is_told_apart() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"

    log, _, _ = serve(app)

    assert log.records[0]["outcome"] == "disconnected"
    assert "status" not in log.records[0]


def test_a_disconnect_after_the_answer_is_a_completed_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        await receive()

    assert serve(app)[0].records[0]["outcome"] == "completed"


def test_a_cancelled_request_is_one_line_and_stays_cancelled() -> None:
    log = RecordingLogger()

    async def main() -> None:
        started = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            started.set()
            await asyncio.Event().wait()

        async def nothing(*_: Any) -> Any:
            raise AssertionError

        request: Callable[..., Awaitable[None]] = AccessLogMiddleware(app, log)
        task = asyncio.ensure_future(request({"type": "http", "path": "/"}, nothing, nothing))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    (record,) = log.records
    assert (record["outcome"], record["level"]) == ("cancelled", "info")


@pytest.mark.parametrize(
    ("reply", "status"),
    [({"type": "websocket.accept"}, 101), ({"type": "websocket.close"}, 403)],
    ids=["accepted", "refused"],
)
def test_a_websocket_is_one_line_too(reply: dict[str, Any], status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(reply)

    log, _, _ = serve(app, type="websocket", method=None)

    assert log.records[0]["status"] == status


def test_the_lifespan_passes_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    log, _, scope = serve(app, type="lifespan")

    assert seen == [scope]
    assert log.records == []
    assert "state" not in scope


def test_by_default_the_line_is_logged_under_a_name_of_its_own(recorded_logs: Recorder) -> None:
    async def run() -> None:
        async def nothing(*_: Any) -> Any:
            return None

        await AccessLogMiddleware(answer)({"type": "http", "path": "/"}, nothing, nothing)

    asyncio.run(run())

    assert_logged(recorded_logs, "request", logger="mtenant_logger.access", status=201)
