"""What services hold themselves to is held here to an app that is right, and to documents that are wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Matrix, Operation, operations, running, seen

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(notes_app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running(notes_app()) as client:
        yield client


@pytest.fixture
def known(notes_app: Any) -> dict[str, Operation]:
    """The operations of the notes' app by their names."""
    return {str(one): one for one in operations(notes_app())}


@pytest.fixture
def matrix(client: httpx.AsyncClient, issuer: Issuer, acme: str) -> Matrix:
    whatever_version = {"headers": {"if-match": "*"}}
    return Matrix("note-service", client, issuer, acme, lambda _: whatever_version)


def test_an_operation_is_what_the_document_says(known: dict[str, Operation]) -> None:
    create, internal = known["POST /api/notes"], known["GET /api/notes/internal"]

    assert (create.permission, create.callers, create.schema) == (
        "notes:write",
        "people",
        "NewNote",
    )
    assert (internal.permission, internal.callers) == ("notes:read", "services")
    assert known["GET /api/notes/open"].is_public
    assert known["GET /api/notes/{note_id}"].ids == ["note_id"]
    assert not [name for name in known if "/health" in name]


async def test_an_app_that_is_right_passes(known: dict[str, Operation], matrix: Matrix) -> None:
    for operation in known.values():
        if operation.is_public:
            continue
        await matrix.assert_strangers(operation)
        await matrix.assert_roles(operation)
        if operation.permission:
            await matrix.assert_scopes(operation)
        if operation.ids:
            await matrix.assert_malformed_ids(operation)


async def test_an_operation_that_is_open_is_found(
    known: dict[str, Operation], matrix: Matrix
) -> None:
    with pytest.raises(AssertionError, match="without a token: 200"):
        await matrix.assert_strangers(known["GET /api/notes/open"])


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("GET /api/notes", {"x-permission": "notes:write"}),
        ("GET /api/notes/{note_id}", {"x-permission": "notes:write"}),
        ("POST /api/notes", {"x-permission": "notes:read"}),
        ("GET /api/notes/me", {"x-permission": "notes:read"}),
        ("GET /api/notes/internal", {"x-callers": "people"}),
        ("GET /api/notes", {"x-callers": "services"}),
    ],
)
async def test_who_may_what_the_document_does_not_say_is_found(
    name: str, lie: dict[str, str], known: dict[str, Operation], matrix: Matrix
) -> None:
    operation = replace(known[name], said={**known[name].said, **lie})
    with pytest.raises(AssertionError, match=name.partition(" ")[0]):
        await matrix.assert_roles(operation)


@pytest.mark.parametrize("permission", ["notes:write", "other:read"])
async def test_a_scope_that_the_document_does_not_say_is_found(
    permission: str, known: dict[str, Operation], matrix: Matrix
) -> None:
    one = known["GET /api/notes"]
    with pytest.raises(AssertionError, match="a service with"):
        await matrix.assert_scopes(replace(one, said={**one.said, "x-permission": permission}))


async def test_an_id_that_may_be_anything_is_found(matrix: Matrix) -> None:
    with pytest.raises(AssertionError, match="the id"):
        await matrix.assert_malformed_ids(Operation("GET", "/api/notes/open", {}))


async def test_what_another_tenant_shows_is_found(
    known: dict[str, Operation], matrix: Matrix, issuer: Issuer, acme: str, other: str
) -> None:
    headers = issuer.bearer(acme, "owner")
    made = await matrix.http.post("/api/notes", headers=headers, json={"title": "ours"})
    ids, get = {"note_id": made.json()["id"]}, known["GET /api/notes/{note_id}"]

    await replace(matrix, tenant=other).assert_foreign_ids(get, ids)
    with pytest.raises(AssertionError, match="another tenant's"):
        await matrix.assert_foreign_ids(get, ids)


async def test_a_tenant_that_is_not_there_is_seen(
    known: dict[str, Operation], matrix: Matrix
) -> None:
    assert (await matrix.of_no_tenant(known["GET /api/notes"])).status == 404
    assert (await matrix.of_no_tenant(known["GET /api/notes/me"])).status == 200


@pytest.mark.parametrize(
    "other",
    [
        httpx.Response(403, text="no 7"),
        httpx.Response(404, text="no 9"),
        httpx.Response(404, text="no 7", headers={"etag": '"1"'}),
    ],
)
def test_answers_that_tell_something_are_not_alike(other: httpx.Response) -> None:
    assert seen(httpx.Response(404, text="no 7"), "7") != seen(other, "7")
