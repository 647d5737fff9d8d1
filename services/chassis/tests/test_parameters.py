from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from mtenant_chassis import (
    CurrentPrincipal,
    Router,
    Tenant,
    authenticated,
    given,
    public,
    requires,
)
from mtenant_chassis.testing import Issuer, running

pytestmark = pytest.mark.anyio


class Words(BaseModel):
    words: list[str]


async def agent_of(request: Request) -> str:
    return request.headers.get("user-agent", "")


Agent = Annotated[str, given(agent_of)]


async def greeting(agent: Agent, principal: CurrentPrincipal) -> str:
    return f"{principal.key} by {agent}"


def extra() -> Router:
    router = Router(prefix="/api/given")

    @router.post("/words/{number}", dependencies=[authenticated()])
    async def words(
        number: int, body: Words, agent: Agent, who: CurrentPrincipal, times: int = 1
    ) -> dict[str, Any]:
        return {"all": [number, *body.words, agent, who.key, times]}

    @router.get("/asker", dependencies=[public()])
    async def asker(asked: Request, agent: Agent) -> list[str]:
        return [asked.method, agent]

    @router.get("/nested", dependencies=[authenticated()])
    async def nested(said: Annotated[str, Depends(greeting)]) -> str:
        return said

    @router.get("/sync", dependencies=[public()])
    def sync(agent: Agent) -> str:
        return agent

    @router.get("/stream", dependencies=[public()])
    async def stream(agent: Agent) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield agent

        return StreamingResponse(parts())

    @router.post("/of-tenant", dependencies=[authenticated()])
    async def of_tenant(body: Words, tenant: Tenant) -> str:
        return tenant.id

    return router


@pytest.fixture
def bearer(issuer: Issuer, acme: str) -> dict[str, str]:
    return {**issuer.bearer(acme, "member"), "user-agent": "tests"}


async def test_a_route_has_what_is_given_beside_what_is_sent(
    notes_app: Any, bearer: dict[str, str]
) -> None:
    async with running(notes_app(more=[extra()])) as http:
        sent = {"words": ["a"]}
        answer = await http.post("/api/given/words/7?times=2", headers=bearer, json=sent)
        wrong = await http.post("/api/given/words/x?times=y", headers=bearer, json={})

    said = answer.json()["all"]
    assert said[:3] == [7, "a", "tests"]
    assert said[3].startswith("user:")
    assert said[4] == 2
    assert wrong.status_code == 400
    assert {one.get("name", one.get("pointer")) for one in wrong.json()["errors"]} == {
        "number",
        "times",
        "#/words",
    }


@pytest.mark.parametrize(
    ("path", "found"),
    [("asker", '["GET","tests"]'), ("sync", '"tests"'), ("stream", "tests")],
)
async def test_routes_of_every_kind_have_it(
    notes_app: Any, bearer: dict[str, str], path: str, found: str
) -> None:
    async with running(notes_app(more=[extra()])) as http:
        answer = await http.get(f"/api/given/{path}", headers=bearer)

    assert answer.text == found


async def test_other_dependencies_may_take_it_too(notes_app: Any, bearer: dict[str, str]) -> None:
    async with running(notes_app(more=[extra()])) as http:
        answer = await http.get("/api/given/nested", headers=bearer)

    assert answer.json().endswith(" by tests")


async def test_who_may_not_is_told_before_what_is_wrong(notes_app: Any, issuer: Issuer) -> None:
    token = issuer.service_token("deal-service", audience="note-service")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    async with running(notes_app(more=[extra()])) as http:
        answer = await http.post("/api/given/of-tenant", headers=headers, content=b"{")

    assert (answer.status_code, answer.json()["code"]) == (403, "TOKEN_WITHOUT_TENANT")


def test_the_document_does_not_show_it(notes_app: Any) -> None:
    operation = notes_app(more=[extra()]).openapi()["paths"]["/api/given/words/{number}"]["post"]

    assert {one["name"] for one in operation["parameters"]} == {"number", "times"}


def test_a_demand_on_a_router_that_would_not_check_it_is_refused() -> None:
    router = APIRouter()
    with pytest.raises(TypeError, match="made by mtenant_chassis"):

        @router.get("/open", dependencies=[requires("notes:read")])
        async def read() -> None: ...


def test_what_is_given_is_a_dependency_of_any_app() -> None:
    app = FastAPI()

    @app.get("/")
    async def read(agent: Agent) -> str:
        return agent

    assert not app.openapi()["paths"]["/"]["get"].get("parameters")
