"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from openapi_spec_validator import validate

from deal_service import DealServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.testing import ABSENT, Issuer, Matrix, Operation, Place, operations, seen
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

# A body with which each operation would do what it is for; those without one have none.
STAGES = [
    {"key": "a", "name": "A", "probability": 1},
    {"key": "b", "name": "B", "outcome": "won"},
    {"key": "c", "name": "C", "outcome": "lost"},
]
BODIES: dict[str, Any] = {
    "NewDeal": {"name": "x", "amount_minor": 1, "currency": "EUR"},
    "DealChange": {"stage": "closed_won"},
    "Batch": {"items": [{"create": {"name": "x", "amount_minor": 1, "currency": "EUR"}}]},
    "NewAssociation": {"contact_id": "0192f0c1-2c4e-7000-8000-000000000001"},
    "NewPipeline": {"name": "P", "stages": STAGES},
    "PipelineChange": {"is_default": True},
    "PlacedStage": {"key": "new", "name": "New", "probability": 5},
    "StageChange": {"name": "Other"},
    "NewLostReason": {"key": "new", "name": "New"},
    "LostReasonChange": {"is_active": False},
    "NewCustomField": {"key": "new", "label": "New", "type": "text"},
    "CustomFieldPatch": {"label": "Other"},
}


APP = create(
    Settings(service="deal-service", database=DatabaseConfig(name="crm")), DealServiceSettings()
)
ALL = operations(APP)
WITH_ID = [one for one in ALL if one.ids]
LISTS = [one for one in ALL if not one.ids and one.method == "GET"]


def asked(operation: Operation) -> dict[str, Any]:
    """Return what an operation is asked with, so that it would do what it is for."""
    return {} if operation.schema is None else {"json": BODIES[operation.schema]}


def test_the_document_is_valid_openapi() -> None:
    found = APP.openapi()
    validate(found)
    assert found["openapi"].startswith("3.1")


def test_no_operation_is_public_and_each_declares_what_it_answers_to_strangers() -> None:
    assert len(ALL) >= 34
    for one in ALL:
        assert {"401", "403", "404", "429", "500", "503"} <= set(one.said["responses"]), str(one)
        assert one.said["security"] == [{"bearer": []}]
        assert one.permission
        assert one.schema is None or one.schema in BODIES, one.schema


@pytest.fixture(scope="module")
async def tenant(place: Place) -> str:
    return await place.new_tenant()


@dataclass
class Things:
    """Everything that a tenant has one of."""

    tenant: str
    ids: dict[str, str]


async def things(world: Any, place: Place) -> Things:
    tenant = await place.new_tenant()
    contact, admin = str(uuid4()), world.bearer(tenant, "admin")
    deal = await world.deal(tenant, contact_ids=[contact])
    pipeline = await world.http.post("/api/pipelines", json=BODIES["NewPipeline"], headers=admin)
    reason = await world.http.post(
        "/api/lost-reasons", json={"key": "own", "name": "Own"}, headers=admin
    )
    field = await world.field(tenant, "own")
    ids = {
        "deal_id": deal["id"],
        "contact_id": contact,
        "pipeline_id": pipeline.json()["id"],
        "stage_id": pipeline.json()["stages"][0]["id"],
        "reason_id": reason.json()["id"],
        "field_id": field["id"],
    }
    return Things(tenant, ids)


def everything(world: Any, tenant: str) -> list[Any]:
    """Return all rows of a tenant."""
    tables = (
        "pipelines",
        "stages",
        "lost_reasons",
        "deals",
        "deal_visits",
        "deal_contacts",
        "merged_contacts",
        "deal_custom_fields",
    )
    return [world.rows(tenant, f"select t::text from {one} t order by 1") for one in tables]


@pytest.fixture(scope="module")
async def theirs(standing: Any, place: Place) -> AsyncIterator[Things]:
    """Another tenant's things, which nothing in this file changes."""
    made = await things(standing, place)
    before = everything(standing, made.tenant)
    yield made
    assert everything(standing, made.tenant) == before


@pytest.fixture(scope="module")
def matrix(standing: Any, issuer: Issuer, tenant: str) -> Matrix:
    return Matrix("deal-service", standing.http, issuer, tenant, asked)


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
async def test_a_service_needs_the_scope(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_scopes(operation)


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_service_without_a_tenant_has_nothing(
    *, operation: Operation, standing: Any, issuer: Issuer
) -> None:
    token = issuer.service_token("s", audience="deal-service", scopes=(str(operation.permission),))
    answer = await standing.http.request(
        operation.method,
        operation.url(),
        headers={"authorization": f"Bearer {token}"},
        **asked(operation),
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "TOKEN_WITHOUT_TENANT")


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_malformed_ids(operation)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    operation: Operation, matrix: Matrix, theirs: Things
) -> None:
    await matrix.assert_foreign_ids(operation, theirs.ids)


async def test_each_operation_with_an_id_finds_what_is_its_own(standing: Any, place: Place) -> None:
    """So that the 404 of the test above is about the tenant, and not about the request."""
    for operation in WITH_ID:
        mine = await things(standing, place)
        if operation.path.endswith(("/restore", "/purge")):
            url = f"/api/deals/{mine.ids['deal_id']}"
            await standing.http.delete(url, headers=standing.bearer(mine.tenant, "owner"))
        answer = await standing.http.request(
            operation.method,
            operation.url(**mine.ids),
            headers=standing.bearer(mine.tenant, "owner"),
            **asked(operation),
        )
        assert answer.status_code in {200, 201, 204, 422}, f"{operation}: {answer.text}"
        if answer.status_code == 422:  # the only open stage is not to be removed
            assert (operation.method, answer.json()["code"]) == ("DELETE", "PIPELINE_INVALID")


@pytest.mark.parametrize("where", ["a new deal", "a change", "a contact", "a bulk"])
async def test_an_id_in_a_body_of_another_tenants_is_one_that_is_not_there(
    *, where: str, make_world: Any, place: Place
) -> None:
    async with make_world() as world:
        theirs, mine = await things(world, place), await place.new_tenant()
        world.neighbours.contacts = {theirs.tenant: {theirs.ids["contact_id"]}}
        own = await world.deal(mine)
        url, new = f"/api/deals/{own['id']}", BODIES["NewDeal"]
        answers = []
        for ids in (theirs.ids, dict.fromkeys(theirs.ids, ABSENT)):
            pipeline, contact, deal = ids["pipeline_id"], ids["contact_id"], ids["deal_id"]
            asked: list[tuple[str, str, dict[str, Any]]] = {
                "a new deal": [
                    ("POST", "/api/deals", {**new, "pipeline_id": pipeline}),
                    ("POST", "/api/deals", {**new, "contact_ids": [contact]}),
                ],
                "a change": [
                    ("PUT", url, {"pipeline_id": pipeline}),
                    ("PATCH", url, {"pipeline_id": pipeline, "stage": "a"}),
                ],
                "a contact": [("POST", f"{url}/contacts", {"contact_id": contact})],
                "a bulk": [
                    ("POST", "/api/deals/bulk", {"items": [{"id": deal, "change": {"name": "x"}}]}),
                ],
            }[where]
            answers += [
                [
                    seen(
                        await world.http.request(
                            method, path, json=body, headers=world.bearer(mine, "owner")
                        ),
                        *ids.values(),
                    )
                    for method, path, body in asked
                ]
            ]
        assert answers[0] == answers[1]
        assert {one.status for one in answers[0]} == {200 if where == "a bulk" else 422}
        assert len((await world.get(theirs.tenant, "/api/deals"))["items"]) == 1


@pytest.mark.parametrize("operation", LISTS, ids=str)
async def test_a_list_or_a_sum_has_nothing_of_another_tenant(
    *, operation: Operation, standing: Any, issuer: Issuer, place: Place, theirs: Things
) -> None:
    mine = await place.new_tenant()
    params = {"limit": "200", "by": ["month", "owner", "stage"], "pipeline_id": None}
    answers = [
        await standing.http.get(
            operation.path,
            params={name: value for name, value in {**params, **more}.items() if value},
            headers=issuer.bearer(mine, "owner"),
        )
        for more in (
            {},
            {"pipeline_id": theirs.ids["pipeline_id"]},
            {"contact_id": theirs.ids["contact_id"]},
        )
    ]
    for answer in answers:
        assert answer.status_code == 200
        for identity in theirs.ids.values():
            assert identity not in answer.text
        said = answer.json()
        if operation.path not in {"/api/pipelines", "/api/lost-reasons"}:
            assert not said.get("items")
            assert not said.get("won_deals")


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_token_of_a_tenant_that_is_not_there_tells_as_little(
    operation: Operation, matrix: Matrix
) -> None:
    assert (await matrix.of_no_tenant(operation)).status == 404


@pytest.mark.parametrize("operation", [one for one in ALL if one.schema], ids=str)
async def test_a_body_that_is_none_is_a_bad_request_whatever_it_is(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str
) -> None:
    headers = {**issuer.bearer(tenant, "owner"), "content-type": "application/json"}
    bodies = [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"1" * 5000, b'{"a":' * 2000]
    for body in bodies:
        answer = await standing.http.request(
            operation.method, operation.url(), headers=headers, content=body
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED"), body
    assert operation.schema is not None
    for name in ("is_admin", "version_", "__proto__", "deleted_at"):
        more = {**BODIES[operation.schema], name: "owner"}
        answer = await standing.http.request(
            operation.method, operation.url(), headers=issuer.bearer(tenant, "owner"), json=more
        )
        assert answer.status_code == 400
        assert name not in answer.text
