from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx2 as httpx
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from mtenant_chassis.problems import entry, translate
from mtenant_chassis.testing import Issuer, running
from mtenant_errors import BadRequest, InternalServerError

pytestmark = pytest.mark.anyio
CANARY = "c4n4ry"


def is_problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:mtenant:error:{body['code']}"
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def test_what_is_not_there_is_a_problem(notes_app: Any) -> None:
    async with running(notes_app()) as client:
        absent = await client.get("/nowhere")
        slash = await client.get("/api/notes/open/")
        method = await client.put("/api/notes/open")

    assert is_problem(absent)["code"] == is_problem(slash)["code"] == "NOT_FOUND"
    assert is_problem(method)["code"] == "METHOD_NOT_ALLOWED"
    assert method.headers["allow"] == "GET"


async def test_405_names_every_method_of_the_path(notes_app: Any, acme: str) -> None:
    async with running(notes_app()) as client:
        collection = await client.delete("/api/notes")
        item = await client.put("/api/notes/00000000-0000-4000-8000-000000000000")

    assert collection.headers["allow"] == "GET, POST"
    assert item.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT", "TRACE"])
async def test_a_path_of_its_own_is_no_item_with_an_odd_id(notes_app: Any, method: str) -> None:
    async with running(notes_app()) as client:
        answer = await client.request(method, "/api/notes/open")

    assert is_problem(answer)["code"] == "METHOD_NOT_ALLOWED"
    assert answer.headers["allow"] == "GET"


async def test_an_invalid_request_names_each_thing_that_is_wrong(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        answer = await client.patch("/api/notes/x", headers=member, json={"labels": {"a": "b"}})
        query = await client.get("/api/notes?limit=0", headers=member)

    body = is_problem(answer)
    assert (body["status"], body["code"]) == (400, "VALIDATION_FAILED")
    assert [(e["in"], e.get("name", e.get("pointer")), e["type"]) for e in body["errors"]] == [
        ("path", "note_id", "uuid_parsing"),
        ("body", "#/title", "missing"),
        ("body", "#/labels/*", "int_parsing"),
    ]
    assert is_problem(query)["errors"][0]["name"] == "limit"


BODIES: dict[str, bytes] = {
    "no json": b'{"title": "c4n4ry"',
    "text": b"c4n4ry",
    "number": b"123456789",
    "list": b'["c4n4ry"]',
    "null": b"null",
    "empty": b"",
    "no utf-8": b'{"title": "c4n4ry\xff"}',
    "deep": b'{"title":' + b"[" * 100_000,
    "long number": b'{"title": ' + b"9" * 5000 + b"}",
    "nan": b'{"title": NaN}',
    "unknown member": b'{"title": "t", "c4n4ry": 1}',
    "key of a map": b'{"title": "t", "labels": {"c4n4ry": "c4n4ry"}}',
    "wrong type": b'{"title": {"c4n4ry": 1}}',
    "too long": b'{"title": "' + b"c4n4ry" * 100 + b'"}',
    "utf-16": '{"title": "c4n4ry"'.encode("utf-16"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_no_answer_echoes_the_body(
    notes_app: Any, issuer: Issuer, acme: str, body: bytes
) -> None:
    async with running(notes_app()) as client:
        fields = {**issuer.bearer(acme, "member"), "content-type": "application/json"}
        answer = await client.post("/api/notes", content=body, headers=fields)

    assert answer.status_code == 400
    assert is_problem(answer)["code"] == "VALIDATION_FAILED"
    assert CANARY not in answer.text


async def test_a_body_of_another_type_is_no_body(notes_app: Any, issuer: Issuer, acme: str) -> None:
    async with running(notes_app()) as client:
        for kind in ("text/plain", "application/xml", "multipart/form-data", CANARY, ""):
            fields = {**issuer.bearer(acme, "member"), "content-type": kind}
            answer = await client.post("/api/notes", content=b'{"title": "c4n4ry"}', headers=fields)
            assert answer.status_code == 400, kind
            assert CANARY not in answer.text


async def test_no_answer_echoes_a_query_or_a_field(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        answers = [
            await client.get(f"/api/notes?limit={CANARY}", headers=member),
            await client.get(f"/api/notes?cursor={CANARY}", headers=member),
            await client.get(f"/api/notes?like={CANARY * 20}", headers=member),
            await client.get("/api/notes", headers={"authorization": f"Bearer {CANARY}"}),
            await client.delete(
                "/api/notes/00000000-0000-4000-8000-000000000000",
                headers={**issuer.bearer(acme, "owner"), "if-match": CANARY},
            ),
        ]

    assert [one.status_code for one in answers] == [400, 400, 400, 401, 400]
    assert not any(CANARY in one.text for one in answers)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_entry_holds_a_part_of_the_input(value: Any) -> None:
    class Strict(BaseModel, extra="forbid"):
        name: int
        more: dict[str, list[int]]

    marked = json.loads(json.dumps({CANARY: value, "more": {CANARY: value}, "name": CANARY}))
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Strict).validate_python(marked)

    told = translate(RequestValidationError(raised.value.errors()), {"name", "more"})

    assert isinstance(told, BadRequest)
    assert CANARY not in json.dumps(told.to_problem())


def test_a_message_of_our_own_is_told_if_it_has_no_context() -> None:
    own = PydanticCustomError("reserved", "this name is reserved")
    echoing = PydanticCustomError("taken", "{name} is taken", {"name": CANARY})

    assert (
        entry({"type": own.type, "loc": ("body",), "msg": own.message()}, frozenset())["detail"]
        == "this name is reserved"
    )
    told = entry(
        {"type": "taken", "loc": ("body",), "msg": echoing.message(), "ctx": echoing.context},
        frozenset(),
    )
    assert CANARY not in str(told)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"one": "", "name": "abc"}, "String should have at least 1 character"),
        ({"one": "a", "name": "ab"}, "String should have at least 3 characters"),
        ({"one": "a", "name": "abcdef"}, "String should have at most 5 characters"),
        ({"one": "a", "name": "abc", "number": 3}, "Input should be greater than or equal to 7"),
        ({"one": "a", "name": "abc", "kind": "c4n4ry"}, "Input should be 'a' or 'b'"),
        ({"one": "a", "name": "abc", "at": "c4n4ry"}, "is no date and time of RFC 3339"),
    ],
)
def test_what_the_schema_asks_for_is_told(value: Any, detail: str) -> None:
    class Asked(BaseModel):
        one: str = Field(min_length=1)
        name: str = Field(min_length=3, max_length=5)
        number: int = Field(7, ge=7)
        kind: Literal["a", "b"] = "a"
        at: datetime | None = None

    with pytest.raises(ValidationError) as raised:
        Asked.model_validate(value)

    (error,) = raised.value.errors()
    assert entry(error, frozenset())["detail"] == detail


def test_an_unforeseen_error_is_ours_and_says_nothing() -> None:
    told = translate(RuntimeError(CANARY))

    assert isinstance(told, InternalServerError)
    assert CANARY not in json.dumps(told.to_problem())


async def test_a_fault_of_the_program_says_nothing_of_itself(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        answer = await client.post(
            "/api/notes", headers=issuer.bearer(acme, "member"), json={"title": "broken"}
        )

    assert is_problem(answer)["code"] == "INTERNAL_SERVER_ERROR"
    assert "CANARY" not in answer.text


@pytest.mark.parametrize("framed", [True, False], ids=["with Content-Length", "chunked"])
async def test_a_body_ends_at_the_limit(
    notes_app: Any, issuer: Issuer, acme: str, framed: bool
) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b" " * 65536

    async with running(notes_app()) as client:
        fields = {**issuer.bearer(acme, "member"), "content-type": "application/json"}
        content = b" " * 4_194_304 if framed else chunks()
        small = await client.post("/api/notes", content=content, headers=fields)
        large = await client.post(
            "/api/notes/large", content=json.dumps(["x" * 2_000_000]), headers=fields
        )

    assert is_problem(small)["code"] == "BODY_TOO_LARGE"
    assert sent < 20
    assert large.json() == 2_000_000


async def test_a_path_is_shown_as_the_reference_that_it_is(notes_app: Any) -> None:
    async with running(notes_app()) as client:
        answer = await client.get("/" + quote("a b\n<ä>"))

    assert is_problem(answer)["instance"] == "/a%20b%0A%3C%C3%A4%3E"


def test_the_document_is_valid_and_declares_problems_everywhere(notes_app: Any) -> None:
    document = notes_app().openapi()
    validate(document)

    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in document["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/Problem"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            responses = operation["responses"]
            assert {"400", "429", "500", "503", "504", "default"} <= responses.keys(), (
                path,
                method,
            )
            for status, response in responses.items():
                own = path.startswith(("/health", "/ready")) and status == "503"
                if (status == "default" or status >= "400") and not own:
                    assert response["content"]["application/problem+json"]["schema"] == reference
            assert ("401" in responses) == bool(operation["security"])
    rename = document["paths"]["/api/notes/{note_id}"]["patch"]
    assert {"404", "409", "412", "413", "422"} <= rename["responses"].keys()
    delete = document["paths"]["/api/notes/{note_id}"]["delete"]
    assert "428" in delete["responses"]
    assert delete["x-permission"] == "notes:delete"
    create = document["paths"]["/api/notes"]["post"]
    for parameter in (
        one
        for o in document["paths"].values()
        for m in o.values()
        for one in m.get("parameters", ())
    ):
        assert {"type": "null"} not in parameter["schema"].get("anyOf", ())
    assert "Idempotency-Key".lower() in {one["name"].lower() for one in create["parameters"]}
