from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Match, NoMatchFound

from mtenant_chassis.route_index import RouteIndex
from mtenant_chassis.testing import running

PARTS = ["a", "b", "{}", "{:int}"]
templates = st.lists(st.sampled_from(PARTS), max_size=3).map("/".join).map("/{}".format)
methods = st.sampled_from(["GET", "POST", "DELETE"])
paths = st.lists(st.sampled_from(["a", "b", "7", ""]), max_size=4).map("/".join).map("/{}".format)


def route(method: str, path: str) -> APIRoute:
    async def endpoint() -> None: ...

    parts = [part.replace("{", f"{{p{n}") for n, part in enumerate(path.split("/"))]
    return APIRoute("/".join(parts), endpoint, methods=[method])


def asked(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": []}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(methods, templates), max_size=8),
    st.lists(st.tuples(methods, paths), min_size=1, max_size=8),
    st.booleans(),
)
def test_it_finds_what_trying_all_of_them_finds_first(
    made: list[tuple[str, str]], wanted: list[tuple[str, str]], greedy: bool
) -> None:
    routes = [route(*one) for one in made]
    if greedy:
        routes.insert(len(routes) // 2, route("GET", "/a/{:path}"))
    index = RouteIndex(routes)
    for one in wanted:
        first = next(
            (each for each in routes if each.matches(asked(*one))[0] == Match.FULL),
            None,
        )
        match, added = index.matches(asked(*one))
        if match == Match.FULL:
            assert first is not None
            assert added["route"] is first
            assert (match, added) == first.matches(asked(*one))
        else:
            assert (match, added) == (Match.NONE, {})
            assert first is None or greedy


def test_what_is_no_request_is_nobodys() -> None:
    index = RouteIndex([route("GET", "/a")])

    assert index.matches({"type": "websocket", "path": "/a"}) == (Match.NONE, {})
    with pytest.raises(NoMatchFound):
        index.url_path_for("endpoint")


@pytest.mark.anyio
async def test_an_app_answers_below_a_prefix_of_its_server(notes_app: Any) -> None:
    app: FastAPI = notes_app()
    async with running(app) as http:
        plain = await http.get("/live")
        app.root_path = "/behind"
        below = await http.get("/behind/live")

    assert plain.status_code == below.status_code == 200
