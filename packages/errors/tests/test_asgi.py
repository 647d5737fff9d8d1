from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtenant_errors import (
    AppError,
    BadGateway,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    from_problem,
    wrap,
)
from mtenant_errors.asgi import ASGIApp, ErrorMiddleware, Message, Receive, Scope, Send


class Answer(Protocol):
    messages: list[Message]
    status: int
    headers: dict[str, str]
    body: bytes
    problem: Any


Ask = Callable[..., Answer]
NO_ERRORS = [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()]
NO_ERRORS += [BaseExceptionGroup("mixed", [NotFound(), SystemExit(3)])]
anything = st.text(st.characters())  # with lone surrogates


def raising(exc: BaseException) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise exc

    return ErrorMiddleware(app)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="mtenant_errors")


def test_every_class_is_answered_with_its_status_and_problem(
    ask: Ask, kind: type[AppError]
) -> None:
    err = kind(code="SOME_CODE", detail="more", retry_after=3)
    answer = ask(raising(err), path="/contacts/7", state={"request_id": "r-1"})

    assert answer.status == err.status_code
    assert answer.problem == err.to_problem(instance="/contacts/7", request_id="r-1")
    assert answer.headers == {**err.to_headers(), "content-length": str(len(answer.body))}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "3"


def test_a_401_has_its_challenge(ask: Ask) -> None:
    assert ask(raising(Unauthorized())).headers["www-authenticate"] == "Bearer"


def test_head_gets_the_fields_and_no_body(ask: Ask) -> None:
    get = ask(raising(NotFound()), state={"request_id": "r"})
    head = ask(raising(NotFound()), method="HEAD", state={"request_id": "r"})

    assert head.body == b""
    assert head.headers == get.headers
    assert len(head.messages) == 2


def test_an_app_that_does_not_raise_is_left_alone(ask: Ask) -> None:
    sent: list[Message] = [
        {"type": "http.response.start", "status": 204, "headers": [(b"x-a", b"b")]},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sent:
            await send(message)

    assert ask(ErrorMiddleware(app)).messages == sent


def test_after_the_response_has_started_nothing_is_sent_and_the_server_is_told(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    exc = ValueError("half way")
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise exc

    async def send(message: Message) -> None:
        messages.append(message)

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/a\nb",
        "state": {"request_id": "r-1"},
    }
    with pytest.raises(ValueError, match="half way") as caught:
        asyncio.run(_run(ErrorMiddleware(app), scope, send))

    assert caught.value is exc
    assert [message["type"] for message in messages] == ["http.response.start"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(r"GET /a\nb failed after its response had started")
    assert record.exc_info is not None
    assert record.exc_info[1] is exc
    assert vars(record)["request_id"] == "r-1"


async def _run(app: ASGIApp, scope: Scope, send: Send) -> None:
    async def receive() -> Message:
        raise AssertionError("nobody asks for the body")

    await app(scope, receive, send)


def test_what_comes_before_the_start_is_no_start(ask: Ask) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        raise NotFound

    answer = ask(ErrorMiddleware(app))

    assert [message["type"] for message in answer.messages] == [
        "http.response.early_hint",
        "http.response.start",
        "http.response.body",
    ]


def test_what_the_connection_raises_while_we_answer_reaches_the_server() -> None:
    async def send(message: Message) -> None:
        raise OSError("the client is gone")

    scope: Scope = {"type": "http", "method": "GET", "path": "/"}
    with pytest.raises(OSError, match="the client is gone"):
        asyncio.run(_run(raising(NotFound()), scope, send))


@pytest.mark.parametrize("type_", ["websocket", "lifespan"])
@pytest.mark.parametrize("fails", [True, False])
def test_other_scopes_pass_untouched(type_: str, fails: bool) -> None:
    seen: list[object] = []

    async def app(*args: object) -> None:
        seen.extend(args)
        if fails:
            raise NotFound

    scope: Scope = {"type": type_}
    with pytest.raises(NotFound) if fails else nullcontext():
        asyncio.run(ErrorMiddleware(app)(scope, None, None))  # type: ignore[arg-type]  # must not be called

    assert seen == [scope, None, None]
    assert scope == {"type": type_}


@pytest.mark.parametrize("exc", NO_ERRORS, ids=repr)
def test_what_is_no_error_passes(ask: Ask, exc: BaseException) -> None:
    with pytest.raises(type(exc)) as caught:
        ask(raising(exc))
    assert caught.value is exc


def test_a_cancelled_request_stays_cancelled() -> None:
    messages: list[Message] = []

    async def main() -> None:
        entered = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            await asyncio.Event().wait()

        async def send(message: Message) -> None:
            messages.append(message)

        scope: Scope = {"type": "http", "method": "GET", "path": "/"}
        task = asyncio.create_task(_run(ErrorMiddleware(app), scope, send))
        await asyncio.wait_for(entered.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert messages == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 504])
def test_a_remote_error_never_becomes_ours(ask: Ask, status: int) -> None:
    remote = from_problem({"code": "CALLEE_CODE", "error": "callee said"}, status)
    for exc in (remote, wrap(remote, "calling"), ExceptionGroup("g", [remote])):
        answer = ask(raising(exc))
        assert (answer.status, answer.problem["code"]) == (502, "BAD_GATEWAY")
        assert "www-authenticate" not in answer.headers
        assert b"callee" not in answer.body.lower()


def test_a_remote_503_becomes_ours_with_its_retry_after(ask: Ask) -> None:
    remote = from_problem(b"overloaded", 503, {"Retry-After": "17"})
    answer = ask(raising(remote))

    assert (answer.status, answer.headers["retry-after"]) == (503, "17")
    assert answer.problem["retryable"] is True


def test_a_remote_404_becomes_ours_by_as_own_only(ask: Ask) -> None:
    remote = from_problem({"code": "CONTACT_NOT_FOUND", "error": "contact 7 not found"}, 404)
    answer = ask(raising(remote.as_own()))

    assert (answer.status, answer.problem["code"]) == (404, "CONTACT_NOT_FOUND")


def test_a_task_group_that_one_task_broke_is_answered_as_that_task(ask: Ask) -> None:
    async def fail() -> None:
        raise TooManyRequests(retry_after=2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.Event().wait())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(fail())

    answer = ask(ErrorMiddleware(app))

    assert (answer.status, answer.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("request_id", [None, "", 7, b"r"], ids=repr)
def test_without_a_request_id_there_is_a_new_one_in_body_log_and_state(
    ask: Ask, caplog: pytest.LogCaptureFixture, request_id: object
) -> None:
    state = {"request_id": request_id}
    answer = ask(raising(NotFound()), state=state)

    assert len(answer.problem["request_id"]) == 32
    assert answer.problem["request_id"] == state["request_id"]
    assert answer.problem["request_id"] == vars(caplog.records[0])["request_id"]


def test_a_request_id_that_an_inner_middleware_set_on_a_copy_of_the_scope_arrives(ask: Ask) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        inner = dict(scope)
        inner["state"]["request_id"] = "r-1"
        raise NotFound

    assert ask(ErrorMiddleware(app)).problem["request_id"] == "r-1"


def test_a_state_that_is_no_mapping_is_left_alone(ask: Ask) -> None:
    assert len(ask(raising(NotFound()), state=object()).problem["request_id"]) == 32


def test_the_instance_is_the_path_as_a_uri_reference_without_the_query(ask: Ask) -> None:
    answer = ask(raising(NotFound()), path="/c/é 7\n?", query_string=b"token=hunter2")

    assert answer.problem["instance"] == "/c/%C3%A9%207%0A%3F"
    assert "instance" not in ask(raising(NotFound()), path="/" + "a" * 5000).problem


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(path=anything, request_id=anything, method=st.sampled_from(["GET", "POST", "HEAD"]))
def test_no_request_makes_it_fail(
    ask: Ask, caplog: pytest.LogCaptureFixture, path: str, request_id: str, method: str
) -> None:
    answer = ask(
        raising(ValueError(path)),
        method=method,
        path=path,
        state={"request_id": request_id},
    )

    assert answer.status == 500
    assert answer.body == b"" or json.loads(answer.body)["request_id"]
    caplog.text.encode("utf-8")


def test_each_kind_is_logged_once_at_the_level_of_the_table(
    ask: Ask, kind: type[AppError], caplog: pytest.LogCaptureFixture
) -> None:
    ask(raising(kind(code="SOME_CODE")), method="PUT", path="/a", state={"request_id": "r-1"})

    (record,) = caplog.records
    assert record.name == "mtenant_errors.asgi"
    assert record.levelno == kind.kind.log_level
    assert record.getMessage() == f"PUT /a -> {kind.status_code} SOME_CODE: {kind.message}"
    assert (record.exc_info is not None) == (kind.status_code >= 500)
    extra = vars(record)
    assert (extra["request_id"], extra["code"]) == ("r-1", "SOME_CODE")
    assert extra["status_code"] == kind.status_code


def test_the_log_has_the_internals_of_the_whole_chain(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    first = NotFound("a", internal="first internal")
    answer = ask(raising(wrap(wrap(first, "b"), "c")))

    assert "first internal" in caplog.text
    assert b"internal" not in answer.body


def test_the_log_of_a_500_has_the_foreign_exception_and_its_traceback(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    exc = ValueError("row 7")
    ask(raising(exc))

    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is exc
    assert "ValueError: row 7" in record.getMessage()


def test_the_log_of_a_group_has_all_of_its_members(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    ask(raising(ExceptionGroup("g", [NotFound("one"), ValueError("two"), KeyError("three")])))

    assert all(told in caplog.text for told in ("one", "two", "three"))


def test_a_loop_of_causes_ends(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    one, two = InternalServerError(internal="one"), BadGateway(internal="two")
    one.__cause__, two.__cause__ = two, one

    assert ask(raising(one)).status == 500
    assert "one; two" in caplog.text


def test_a_line_break_cannot_forge_a_log_line(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    err = NotFound("x\r\nERROR forged\u2028\x1b[31m", internal="y\nz")
    ask(raising(err), path="/a\nERROR forged")

    (record,) = caplog.records
    assert record.getMessage() == (
        r"GET /a\nERROR forged -> 404 NOT_FOUND: x\r\nERROR forged\u2028\x1b[31m [y\nz]"
    )


def test_an_answer_leaves_no_reference_cycle_to_the_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Watched(ServiceUnavailable):
        pass

    gone: list[weakref.ref[Watched]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        err = Watched()
        gone.append(weakref.ref(err))
        try:
            raise err
        finally:
            del err

    async def send(message: Message) -> None:
        pass

    caplog.set_level(logging.CRITICAL, logger="mtenant_errors")  # pytest keeps what is logged
    gc.collect()
    gc.disable()
    try:
        asyncio.run(
            _run(ErrorMiddleware(app), {"type": "http", "method": "GET", "path": "/"}, send)
        )
        assert gone[0]() is None
    finally:
        gc.enable()
