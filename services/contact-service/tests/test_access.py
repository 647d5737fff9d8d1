"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from contact_service import ContactServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.testing import ABSENT, Matrix, Operation, operations
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

APP = create(
    Settings(service="contact-service", database=DatabaseConfig(name="crm")),
    ContactServiceSettings(),
)
ALL = operations(APP)
WITH_ID = [one for one in ALL if one.ids]
BODIES: dict[str, Any] = {
    "contacts": {"first_name": "x"},
    "companies": {"name": "x"},
    "custom-fields": {"label": "x"},
    "merge": {"contact_ids": [ABSENT]},
}


def asked(operation: Operation) -> dict[str, Any]:
    """Return what an operation on one thing is asked with."""
    last = operation.path.rpartition("/")[2]
    options: dict[str, Any] = {"headers": {"if-match": "*"}}
    if operation.ids and (operation.method in {"PUT", "PATCH"} or last == "merge"):
        options["json"] = BODIES.get(last) or BODIES[operation.path.split("/")[2]]
    return options


def test_the_document_is_valid_openapi() -> None:
    validate(APP.openapi())


def test_every_operation_is_closed_and_declares_what_it_answers_to_strangers() -> None:
    assert len(ALL) >= 30
    for one in ALL:
        assert {"401", "403", "404", "429", "500", "503"} <= set(one.said["responses"]), str(one)
        assert one.said["security"] == [{"bearer": []}]


@pytest.fixture(scope="module")
def matrix(standing: Any) -> Matrix:
    return Matrix("contact-service", standing.http, standing.issuer, standing.tenant, asked)


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_caller_without_a_good_token_is_unknown(
    operation: Operation, matrix: Matrix
) -> None:
    await matrix.assert_strangers(operation)


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_role_may_what_the_document_says_and_nothing_more(
    operation: Operation, matrix: Matrix
) -> None:
    await matrix.assert_roles(operation)


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_service_may_what_its_scopes_say(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_scopes(operation)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_malformed_ids(operation)


@pytest.fixture(scope="module")
async def theirs(standing: Any) -> dict[str, str]:
    """What another tenant has, by the name of its id."""
    them = standing.of(await standing.place.new_tenant())
    contact, company = await them.contact(email="them@example.com"), await them.company()
    field = await them.field("secret")
    imported = (await them.upload(b"email\nx@example.com\nbad\n")).json()
    found = {"contact_id": contact, "company_id": company, "field_id": field}
    return {
        **{name: one["id"] for name, one in found.items()},
        "import_id": imported["id"],
        "tenant": them.tenant,
    }


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    operation: Operation, matrix: Matrix, standing: Any, theirs: dict[str, str]
) -> None:
    await matrix.assert_foreign_ids(operation, {name: theirs[name] for name in operation.ids})
    still = await standing.of(theirs["tenant"]).get(f"/api/contacts/{theirs['contact_id']}")
    assert (still.status_code, still.json()["version"]) == (200, 1)


async def test_lists_exports_and_searches_have_nothing_of_another_tenant(
    standing: Any, theirs: dict[str, str]
) -> None:
    mine = standing.of(await standing.place.new_tenant())
    for path in ("contacts", "companies", "custom-fields", "contacts/imports", "contacts/audit"):
        assert (await mine.get(f"/api/{path}")).json()["items"] == [], path
    assert await mine.contacts(q="them") == []
    assert await mine.contacts(company_id=theirs["company_id"]) == []
    for asked in ({"company_id": theirs["company_id"]}, {"custom": {"secret": "x"}}):
        answer = await mine.post("/api/contacts", json={"first_name": "x", **asked})
        assert answer.status_code == 422
    merged = await mine.contact(first_name="x")
    answer = await mine.post(
        f"/api/contacts/{merged['id']}/merge", json={"contact_ids": [theirs["contact_id"]]}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "MERGE_INVALID")
    assert (await mine.contact(email="them@example.com"))["version"] == 1
    csv = await mine.get("/api/contacts/export")
    assert csv.text.count("\r\n") == 3


@pytest.mark.parametrize("operation", [one for one in ALL if not one.ids], ids=str)
async def test_a_token_of_a_tenant_that_is_not_there_tells_as_little(
    operation: Operation, matrix: Matrix
) -> None:
    assert (await matrix.of_no_tenant(operation)).status in {400, 404}
