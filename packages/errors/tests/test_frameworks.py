"""The canary: nothing internal reaches a response, in bare ASGI, Starlette and FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import httpx
import pytest
from fastapi import Body, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route

from mtenant_errors import (
    AppError,
    BadRequest,
    NotFound,
    ServiceUnavailable,
    codes,
    from_problem,
    wrap,
)
from mtenant_errors.asgi import ASGIApp, ErrorMiddleware, Receive, Scope, Send
from mtenant_errors.exceptions import CLASSES

CANARY = "canary-f3a9"
Raise = Callable[[], object]
Ask = Callable[..., Any]


class Secret:
    __secret__ = True

    def __str__(self) -> str:
        return CANARY

    __repr__ = __str__


def bare(fail: Raise) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fail()

    return ErrorMiddleware(app)


def starlette(fail: Raise) -> ASGIApp:
    async def endpoint(request: Request) -> NoReturn:
        fail()
        raise AssertionError

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(ErrorMiddleware)
    return app


def starlette_debug(fail: Raise) -> ASGIApp:
    app = starlette(fail)
    assert isinstance(app, Starlette)
    app.debug = True
    return app


def fastapi(fail: Raise) -> ASGIApp:
    app = FastAPI()
    app.add_middleware(ErrorMiddleware)

    @app.get("/")
    async def endpoint() -> None:
        fail()

    return app


def fastapi_thread(fail: Raise) -> ASGIApp:
    app = FastAPI()
    app.add_middleware(ErrorMiddleware)

    def dependency() -> None:
        fail()

    @app.get("/", dependencies=[Depends(dependency)])
    def endpoint() -> None:
        raise AssertionError

    return app


def fastapi_base_middleware(fail: Raise) -> ASGIApp:
    """Starlette's BaseHTTPMiddleware runs the app in a task group of anyio."""
    app = FastAPI()

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app.add_middleware(ErrorMiddleware)

    @app.get("/")
    async def endpoint() -> None:
        fail()

    return app


APPS = [bare, starlette, starlette_debug, fastapi, fastapi_thread, fastapi_base_middleware]


@pytest.fixture(params=APPS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[Raise], ASGIApp]:
    made: Callable[[Raise], ASGIApp] = request.param
    return made


def by_internal(kind: type[AppError]) -> None:
    raise kind(internal=CANARY)


def by_cause(kind: type[AppError]) -> None:
    raise kind from ValueError(CANARY)


def by_context(kind: type[AppError]) -> None:
    try:
        int(CANARY)
    except ValueError:
        raise kind  # noqa: B904 - the context is what is tried


def by_note(kind: type[AppError]) -> None:
    err = kind()
    err.add_note(CANARY)
    raise err


def by_group(kind: type[AppError]) -> None:
    raise ExceptionGroup(CANARY, [kind(internal=CANARY), kind(CANARY), BadRequest(internal=CANARY)])


def by_group_of_foreign(kind: type[AppError]) -> None:
    raise ExceptionGroup(CANARY, [kind(internal=CANARY), ValueError(CANARY)])


def by_secret(kind: type[AppError]) -> None:
    secret: Any = Secret()
    raise kind(
        "{a} {b}",
        detail=secret,
        errors=[{"a": secret, "b": [secret], "input": CANARY}],
        headers={"X-A": secret},
        a=secret,
        b={"c": secret},
    )


def by_exception_as_param(kind: type[AppError]) -> None:
    raise kind("failed: {reason}", reason=ValueError(CANARY))


def by_exception_as_message(kind: type[AppError]) -> None:
    raise kind(ValueError(CANARY))  # type: ignore[arg-type]  # people do


def by_unused_param(kind: type[AppError]) -> None:
    raise kind("failed", schema=CANARY)


def by_wrap_of_foreign(kind: type[AppError]) -> None:
    raise wrap(OSError(CANARY), "failed")


def by_wrap(kind: type[AppError]) -> None:
    raise wrap(kind(CANARY, internal=CANARY, schema=CANARY), "failed")


def by_remote(kind: type[AppError]) -> None:
    body = {"error": CANARY, "detail": CANARY, "code": "CANARY_F3A9", "errors": [{"a": CANARY}]}
    raise from_problem(body, kind.status_code, {"Retry-After": "3", "X-A": CANARY})


def by_foreign(kind: type[AppError]) -> None:
    class Foreign(Exception):
        code, message, detail, headers = CANARY, CANARY, CANARY, {"X-A": CANARY}

    raise Foreign(CANARY, kind(CANARY))


WAYS = [value for name, value in sorted(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_internal_reaches_a_response(
    ask: Ask,
    kind: type[AppError],
    make: Callable[[Raise], ASGIApp],
    way: Callable[[type[AppError]], object],
) -> None:
    answer = ask(make(lambda: way(kind)))

    assert CANARY not in repr(answer.messages)
    assert "CANARY" not in repr(answer.messages)
    assert answer.problem["status"] == answer.status >= 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_canary_was_alive(
    ask: Ask, make: Callable[[Raise], ASGIApp], caplog: pytest.LogCaptureFixture
) -> None:
    for way in (by_internal, by_group, by_wrap_of_foreign, by_remote, by_foreign):
        caplog.clear()
        ask(make(partial(way, ServiceUnavailable)))
        assert CANARY in caplog.text, way


def test_the_framework_answers_its_own_exceptions_and_we_the_rest(ask: Ask) -> None:
    async def teapot(request: Request) -> NoReturn:
        raise HTTPException(418, "short and stout")

    async def missing(request: Request) -> NoReturn:
        raise NotFound("contact 7 not found")

    routes = [Route("/teapot", teapot), Mount("/sub", routes=[Route("/missing", missing)])]
    app = Starlette(routes=routes)
    app.add_middleware(ErrorMiddleware)

    assert (ask(app, path="/teapot").status, ask(app, path="/teapot").body) == (
        418,
        b"short and stout",
    )
    assert ask(app, path="/nowhere").body == b"Not Found"
    assert ask(app, path="/sub/missing").problem["instance"] == "/sub/missing"


def test_an_exception_handler_of_the_app_comes_first(ask: Ask) -> None:
    app = FastAPI()
    app.add_middleware(ErrorMiddleware)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> NoReturn:
        raise BadRequest(code=codes.VALIDATION_FAILED, errors=exc.errors()) from exc

    @app.post("/login")
    async def login(password: Annotated[int, Body(embed=True)]) -> None:
        raise AssertionError

    async def send_login() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
            return await client.post("/login", json={"password": CANARY})

    response = asyncio.run(send_login())

    assert response.status_code == 400
    assert CANARY not in response.text
    problem = response.json()
    assert (problem["code"], problem["errors"][0]["loc"]) == (
        "VALIDATION_FAILED",
        ["body", "password"],
    )


def test_an_error_crosses_a_real_client_and_is_the_same_class_again(kind: type[AppError]) -> None:
    err = kind("it failed", code="IT_FAILED", retry_after=7)

    def fail() -> None:
        raise err

    async def fetch() -> httpx.Response:
        transport = httpx.ASGITransport(fastapi(fail))
        async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
            return await client.get("/")

    response = asyncio.run(fetch())
    back = from_problem(response.content, response.status_code, response.headers)

    assert type(back) is CLASSES[kind.status_code]
    assert (back.message, back.code, back.retry_after) == ("it failed", "IT_FAILED", 7)
    assert response.headers["cache-control"] == "no-store"
