"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest
from openapi_spec_validator import validate

from communication_service import CommunicationServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.testing import Issuer, Matrix, Operation, Place, operations, running
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

PUBLIC = {"GET /t/o.gif", "GET /t/c", "GET /t/u", "POST /t/u"}
APP = create(
    Settings(service="communication-service", database=DatabaseConfig(name="crm")),
    CommunicationServiceSettings(),
)
ALL = operations(APP, "/api/", "/t/")
CLOSED = [one for one in ALL if not one.is_public]
WITH_ID = [one for one in CLOSED if one.ids]
BODIES: dict[str, dict[str, Any]] = {
    "PATCH": {},
    "PUT": {"name": "n", "subject": "s", "text": "t"},
    "snooze": {"until": "2030-01-01T00:00:00Z"},
    "preview": {},
}


def asked(operation: Operation) -> dict[str, Any]:
    """Return what an operation on one thing is asked with."""
    last = operation.path.rpartition("/")[2]
    return {"json": BODIES.get(last, BODIES.get(operation.method))} if operation.ids else {}


def test_the_document_is_valid_openapi() -> None:
    validate(APP.openapi())


def test_only_these_operations_are_public() -> None:
    assert {str(one) for one in ALL if one.is_public} == PUBLIC


def test_every_other_operation_declares_what_it_answers_to_strangers() -> None:
    assert len(CLOSED) >= 25
    for one in CLOSED:
        assert {"401", "403", "404", "429", "500", "503"} <= set(one.said["responses"]), str(one)
        assert one.said["security"] == [{"bearer": []}]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def client(
    build_service: Any, issuer: Issuer, new_others: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one app, which all of these ask: a hundred apps would take a minute."""
    async with running(build_service(issuer, new_others()).app) as client:
        yield client


@pytest.fixture(scope="module")
def matrix(client: Any, issuer: Issuer, place: Place) -> Matrix:
    return Matrix("communication-service", client, issuer, place.tenant(), asked)


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_caller_without_a_good_token_is_unknown(
    operation: Operation, matrix: Matrix
) -> None:
    await matrix.assert_strangers(operation)


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_role_may_what_the_document_says_and_nothing_more(
    operation: Operation, matrix: Matrix
) -> None:
    await matrix.assert_roles(operation)


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_service_needs_the_scope(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_scopes(operation)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_malformed_ids(operation)


@pytest.fixture(scope="module")
async def belongings(client: Any, issuer: Issuer, place: Place) -> dict[str, str]:
    """What a tenant has, by the parameter that names it; and the tenant."""
    theirs = await place.new_tenant()
    owner = issuer.bearer(theirs, "owner")
    bodies = {
        "activity_id": ("/api/activities", {"kind": "note", "subject": "s"}),
        "task_id": ("/api/tasks", {"title": "t"}),
        "template_id": (
            "/api/emails/templates",
            {"key": "k", "name": "n", "subject": "s", "text": "t"},
        ),
        "email_id": ("/api/emails/send", {"to": "a@example.com", "subject": "s", "text": "t"}),
    }
    made = {"tenant": theirs}
    for name, (path, said) in bodies.items():
        answer = await client.post(path, json=said, headers=owner)
        assert answer.status_code in {201, 202}, answer.text
        made[name] = answer.json()["id"]
    return made


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    *,
    operation: Operation,
    matrix: Matrix,
    client: Any,
    issuer: Issuer,
    belongings: dict[str, str],
) -> None:
    foreign = {name: belongings[name] for name in operation.ids}
    await matrix.assert_foreign_ids(operation, foreign)
    theirs = await client.request(
        operation.method,
        operation.url(**foreign),
        headers=issuer.bearer(belongings["tenant"], "viewer"),
        **asked(operation),
    )
    assert theirs.status_code in {200, 403}  # it is there


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_token_of_a_tenant_that_is_not_there_tells_as_little(
    operation: Operation, matrix: Matrix
) -> None:
    assert (await matrix.of_no_tenant(operation)).status in {400, 404}
