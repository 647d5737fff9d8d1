from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_chassis import Router, authenticated, create_app, public, services_only
from mtenant_chassis.auth import CurrentPrincipal
from mtenant_chassis.breaker import FAILURES, REST, Breaker, RetryBudget
from mtenant_chassis.client import (
    CalleeTimeout,
    CalleeUnavailable,
    ClientCredentials,
    ServiceClient,
)
from mtenant_chassis.settings import AuthSettings
from mtenant_chassis.testing import Issuer, Network, Place, running, serving
from mtenant_config import Secret
from mtenant_errors import AppError, BadGateway, Conflict, NotFound, from_exception

pytestmark = pytest.mark.anyio
Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Callee(httpx.AsyncBaseTransport):
    """Answers as it is told, and keeps the requests."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, json={}, request=request)
        made: httpx.Response = answer(request)
        return made


@asynccontextmanager
async def calling(*answers: Any, **options: Any) -> AsyncIterator[tuple[ServiceClient, Callee]]:
    callee = Callee(*answers)
    async with ServiceClient("pen-service", "http://pens", transport=callee, **options) as client:
        yield client, callee


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr("mtenant_chassis.client._FIRST_WAIT", 0.0)


async def test_a_safe_request_is_sent_again_and_another_one_only_with_a_key() -> None:
    async with calling(503, 502, 200) as (client, callee):
        assert (await client.get("/a")).status_code == 200
    assert len(callee.requests) == 3

    async with calling(503) as (client, callee):
        with pytest.raises(AppError):
            await client.post("/a", json={})
    assert len(callee.requests) == 1

    async with calling(503, 200) as (client, callee):
        await client.post("/a", json={"a": 1}, idempotency_key="k1")
    assert [r.headers["idempotency-key"] for r in callee.requests] == ["k1", "k1"]
    assert callee.requests[0].content == callee.requests[1].content


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 500])
async def test_what_is_no_outage_is_not_sent_again(status: int) -> None:
    async with calling(status) as (client, callee):
        with pytest.raises(AppError):
            await client.get("/a")
    assert len(callee.requests) == 1


async def test_a_problem_comes_back_as_what_it_was_and_is_not_ours() -> None:
    problem = NotFound(code="PEN_NOT_FOUND", message="there is no such pen").to_problem_json()

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(404, content=problem, headers=headers)

    async with calling(answer) as (client, _):
        with pytest.raises(NotFound) as raised:
            await client.get("/a")

    assert raised.value.code == "PEN_NOT_FOUND"
    assert raised.value.remote
    assert from_exception(raised.value).status_code == 502  # uncaught, it is never our 404
    assert isinstance(raised.value.as_own(), NotFound)


async def test_a_502_of_its_own_says_nothing_of_the_callee_and_one_of_a_gateway_does() -> None:
    def own(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(502, content=BadGateway().to_problem_json(), headers=headers)

    async with calling(own) as (client, callee):
        for _ in range(2 * FAILURES):
            with pytest.raises(BadGateway):
                await client.get("/a")
        assert len(callee.requests) == 2 * FAILURES
        assert not client.breaker.is_open

    async with calling(502) as (client, callee):
        for _ in range(2 * FAILURES):
            with pytest.raises(CalleeUnavailable):
                await client.post("/a", json={})
        assert len(callee.requests) == FAILURES


async def test_retries_have_a_budget_that_all_requests_share() -> None:
    class Closed(Breaker):  # the budget alone
        def failed(self) -> None: ...

    async with calling(503) as (client, callee):
        client.breaker = Closed()
        for _ in range(100):
            with pytest.raises(AppError):
                await client.get("/a")

    # 10 at once, and one for each ten requests: not 200.
    assert 100 + 10 <= len(callee.requests) <= 100 + 10 + 10


async def test_a_callee_that_is_down_is_left_alone_and_tried_by_one_request_at_a_time() -> None:
    now = 0.0
    async with calling(httpx.ConnectError("no")) as (client, callee):
        client.breaker = Breaker(lambda: now)
        for _ in range(10):
            with pytest.raises(CalleeUnavailable):
                await client.post("/a", json={})
        assert len(callee.requests) == FAILURES
        with pytest.raises(CalleeUnavailable) as raised:
            await client.post("/a", json={})
        assert raised.value.retry_after == REST
        assert raised.value.retryable

        now += REST
        callee.answers = [200]
        assert (await client.post("/a", json={})).status_code == 200
        assert not client.breaker.is_open


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0, 10))))
def test_an_open_breaker_lets_at_most_one_pass_in_its_rest(steps: list[tuple[str, float]]) -> None:
    now, failures, passed = 0.0, 0, float("-inf")
    breaker = Breaker(lambda: now)
    for step, seconds in steps:
        now += seconds
        if step == "ask":
            wait = breaker.wait()
            assert 0 <= wait <= REST
            if failures >= FAILURES and wait == 0:
                assert now - passed >= REST
                passed = now
        elif step == "fail":
            breaker.failed()
            failures, passed = failures + 1, now
        else:
            breaker.succeeded()
            failures, passed = 0, float("-inf")
        assert breaker.is_open == (failures >= FAILURES)


def test_a_budget_fills_with_requests_and_not_beyond_its_measure() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(10):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


async def test_a_callee_that_hangs_is_a_timeout_and_one_that_refuses_is_not(
    unused_port: int,
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with ServiceClient("pen-service", f"http://127.0.0.1:{port}") as client:
            with pytest.raises(CalleeTimeout) as raised:
                await client.post("/a", json={}, timeout=0.05)
    assert raised.value.status_code == 504

    async with ServiceClient("pen-service", f"http://127.0.0.1:{unused_port}") as client:
        with pytest.raises(CalleeUnavailable) as refused:
            await client.get("/a")
    assert refused.value.status_code == 503
    assert "pen-service" in refused.value.message


async def test_a_cancelled_call_is_no_failure_of_the_callee() -> None:
    class Hangs(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    async with ServiceClient("pen-service", "http://pens", transport=Hangs()) as client:
        for _ in range(2 * FAILURES):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await client.get("/a")
        assert not client.breaker.is_open


async def test_a_one_that_tried_and_was_cancelled_does_not_close_the_way_for_ever() -> None:
    now = 0.0
    async with calling(httpx.ConnectError("no")) as (client, callee):
        client.breaker = Breaker(lambda: now)
        for _ in range(FAILURES):
            with pytest.raises(CalleeUnavailable):
                await client.post("/a", json={})
        now += REST
        callee.answers = [asyncio.CancelledError()]  # not an Exception: it is raised as it is
        with pytest.raises(asyncio.CancelledError):
            await client.post("/a", json={})
        now += REST
        callee.answers = [200]
        assert (await client.post("/a", json={})).status_code == 200


def token_answer(request: httpx.Request) -> httpx.Response:
    form = parse_qs(request.content.decode())
    token = f"token-for-{form['audience'][0]}-of-{form.get('tenant', ['none'])[0]}"
    return httpx.Response(200, json={"access_token": token, "expires_in": 300})


async def test_tokens_of_the_service_are_kept_until_shortly_before_their_end() -> None:
    now = 1000.0
    async with calling(token_answer) as (auth, callee):
        tokens = ClientCredentials(auth, "note-service", "s3cr3t", clock=lambda: now)
        first = await tokens.token("pen-service", "acme")
        assert await tokens.token("pen-service", "acme") == first == "token-for-pen-service-of-acme"
        assert await tokens.token("pen-service", None) == "token-for-pen-service-of-none"
        assert await tokens.token("ink-service", "acme") == "token-for-ink-service-of-acme"
        assert len(callee.requests) == 3
        now += 271
        await tokens.token("pen-service", "acme")
        assert len(callee.requests) == 4

    request = callee.requests[0]
    assert request.url.path == "/api/auth/token"
    basic = request.headers["authorization"].removeprefix("Basic ")
    assert b64decode(basic) == b"note-service:s3cr3t"
    assert parse_qs(request.content.decode())["grant_type"] == ["client_credentials"]


async def test_many_that_want_a_token_at_once_ask_once() -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Callee):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            inside.set()
            await go_on.wait()
            return answer

    slow = Slow(token_answer)
    async with (
        asyncio.timeout(30),
        ServiceClient("auth-service", "http://auth", transport=slow) as auth,
    ):
        tokens = ClientCredentials(auth, "note-service", "s3cr3t")
        asked = [asyncio.create_task(tokens.token("pen-service", "acme")) for _ in range(50)]
        await inside.wait()
        asked[0].cancel()
        await asyncio.sleep(0)
        go_on.set()
        found = await asyncio.gather(*asked[1:])

    assert set(found) == {"token-for-pen-service-of-acme"}
    assert len(slow.requests) == 1


async def test_a_token_that_cannot_be_had_is_asked_for_again() -> None:
    async with calling(500, token_answer) as (auth, _):
        tokens = ClientCredentials(auth, "note-service", "s3cr3t")
        with pytest.raises(AppError):
            await tokens.token("pen-service", "acme")
        assert await tokens.token("pen-service", "acme") == "token-for-pen-service-of-acme"


async def test_a_call_between_services_has_a_token_a_trace_and_the_requests_id(
    place: Place, issuer: Issuer, acme: str
) -> None:
    auth, pens, notes = Router(), Router(), Router()

    @auth.post("/api/auth/token", dependencies=[public()])
    async def token() -> dict[str, Any]:
        text = issuer.service_token(
            "note-service", audience="pen-service", tenant=acme, scopes=("pens:read",)
        )
        return {"access_token": text, "expires_in": 300}

    @pens.get("/internal/pens", dependencies=[services_only("pens:read")])
    async def pens_of(user: CurrentPrincipal) -> dict[str, Any]:
        return {"caller": user.key, "tenant": user.tenant}

    @notes.get("/api/notes/pens", dependencies=[authenticated()])
    async def relay(user: CurrentPrincipal) -> Any:
        chassis = notes_app.state.chassis
        answer = await chassis.service("pen-service").get("/internal/pens", tenant=user.tenant)
        return answer.json()

    auth_app = create_app(place.settings("auth-service"), routers=[auth], keys=issuer.keys)
    pens_app = create_app(place.settings("pen-service"), routers=[pens], keys=issuer.keys)
    network = Network({"auth": auth_app, "pens": pens_app})
    settings = place.settings(
        "note-service",
        auth=AuthSettings(client_secret=Secret("s3cr3t-of-notes")),
        services={"auth-service": "http://auth", "pen-service": "http://pens"},
    )
    notes_app = create_app(settings, routers=[notes], keys=issuer.keys, transport=network)
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with running(auth_app), running(pens_app), running(notes_app) as client:
        answer = await client.get(
            "/api/notes/pens",
            headers={
                **issuer.bearer(acme, "viewer"),
                "x-request-id": "abc",
                "traceparent": f"00-{trace}-b7ad6b7169203331-01",
            },
        )
        person = await httpx.AsyncClient(
            transport=httpx.ASGITransport(app=pens_app), base_url="http://pens"
        ).get("/internal/pens", headers=issuer.bearer(acme, "owner"))

    assert answer.json() == {"caller": "service:note-service", "tenant": acme}
    assert person.status_code == 403
    asked, called = network.requests
    assert asked.url.path == "/api/auth/token"
    assert called.headers["x-request-id"] == "abc"
    assert called.headers["traceparent"].split("-")[1] == trace
    assert "s3cr3t-of-notes" not in json.dumps(dict(called.headers))


async def test_an_error_of_a_callee_is_a_502_or_503_and_says_nothing_of_it(
    place: Place, issuer: Issuer, acme: str
) -> None:
    pens, notes = Router(), Router()

    class Taken(Conflict):
        code, message = "PEN_TAKEN", "CANARY of the pens"

    @pens.get("/taken", dependencies=[public()])
    async def taken() -> None:
        raise Taken(internal="CANARY")

    @notes.get("/api/notes/relay", dependencies=[public()])
    async def relay(what: str) -> None:
        await notes_app.state.chassis.service("pen-service").get(what)

    pens_app = create_app(place.settings("pen-service"), routers=[pens], keys=issuer.keys)
    settings = place.settings("note-service", services={"pen-service": "http://pens"})
    notes_app = create_app(
        settings, routers=[notes], keys=issuer.keys, transport=Network({"pens": pens_app})
    )
    async with running(pens_app), running(notes_app) as client:
        conflict = await client.get("/api/notes/relay?what=/taken")
        absent = await client.get("/api/notes/relay?what=/nowhere")

    assert {conflict.status_code, absent.status_code} <= {502, 503}
    assert "CANARY" not in conflict.text


async def test_a_service_over_a_real_network_is_found_and_lost_and_found(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    app = notes_app()
    now = 0.0
    async with serving(app, place.settings("note-service")) as (url, _):
        client = await ServiceClient("note-service", url).__aenter__()
        client.breaker = Breaker(lambda: now)
        token = issuer.token(acme, "viewer")
        assert (await client.get("/api/notes/me", token=token)).json() == "user:u1"
    for _ in range(FAILURES):
        with pytest.raises(CalleeUnavailable):
            await client.get("/api/notes/me", token=token)
    now += REST
    port = int(url.rpartition(":")[2])
    async with serving(app, place.settings("note-service"), port=port):
        assert (await client.get("/api/notes/me", token=token)).json() == "user:u1"
    await client.__aexit__(None, None, None)
