"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, get_args

import httpx2 as httpx
import pytest
from openapi_spec_validator import validate

from mtenant_chassis import Settings
from mtenant_chassis.testing import Issuer, Matrix, Operation, operations, running, seen
from mtenant_database import DatabaseConfig
from tenant_service import TenantServiceSettings, create

pytestmark = pytest.mark.anyio

PUBLIC = {
    "POST /api/tenants/register",
    "GET /api/tenants/registrations/{registration_id}",
    "GET /api/tenants/subdomains/{subdomain}",
    "POST /api/invitations/accept",
}
APP = create(
    Settings(service="tenant-service", database=DatabaseConfig(name="crm")), TenantServiceSettings()
)
ALL = operations(APP)
CLOSED = [one for one in ALL if not one.is_public]
WITH_ID = [one for one in CLOSED if one.ids]


def test_the_document_is_valid_openapi() -> None:
    validate(APP.openapi())


def test_only_these_operations_are_public() -> None:
    assert {str(one) for one in ALL if one.is_public} == PUBLIC


def test_every_other_operation_declares_what_it_answers_to_strangers() -> None:
    assert len(CLOSED) >= 20
    for one in CLOSED:
        assert {"401", "403", "404", "429", "500", "503"} <= set(one.said["responses"]), str(one)
        assert one.said["security"] == [{"bearer": []}]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def client(
    build_service: Any, issuer: Issuer, auth_service: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one app, which all of these ask: a hundred apps would take a minute."""
    async with running(build_service(issuer, auth_service()).app) as client:
        yield client


@pytest.fixture(scope="module")
def matrix(client: Any, issuer: Issuer, tenant: str) -> Matrix:
    return Matrix("tenant-service", client, issuer, tenant)


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


@pytest.mark.parametrize("operation", [one for one in CLOSED if one.callers == "services"], ids=str)
async def test_a_service_needs_the_scope(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_scopes(operation)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(operation: Operation, matrix: Matrix) -> None:
    await matrix.assert_malformed_ids(operation)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    *, operation: Operation, matrix: Matrix, client: Any, issuer: Issuer, registered: Any
) -> None:
    mine, theirs = await registered(client), await registered(client)
    made = await client.post(
        "/api/tenants/invite",
        json={"email": "grace@example.com"},
        headers=issuer.bearer(theirs.tenant, "owner"),
    )
    foreign = dict.fromkeys(operation.ids, made.json()["id"])
    await replace(matrix, tenant=mine.tenant).assert_foreign_ids(operation, foreign)
    still = await client.get(
        made.headers["location"], headers=issuer.bearer(theirs.tenant, "owner")
    )
    assert still.json() == made.json()


@pytest.mark.parametrize("operation", [one for one in CLOSED if one.callers == "people"], ids=str)
async def test_a_token_of_a_tenant_that_is_not_there_tells_as_little(
    operation: Operation, matrix: Matrix
) -> None:
    status = (await matrix.of_no_tenant(operation)).status
    assert status in {200, 400, 404}
    if status == 200:
        assert operation.path == "/api/tenants/settings/schema"


async def test_an_unknown_token_an_unknown_tenant_and_a_suspended_one_are_alike(
    client: Any, issuer: Issuer, registered: Any
) -> None:
    operator = issuer.service_token(
        "operator", audience="tenant-service", scopes=("tenants:manage",)
    )
    one, suspended = await registered(client), await registered(client)
    await client.post(
        f"/api/tenants/{suspended.tenant}/suspend",
        headers={"authorization": f"Bearer {operator}"},
    )
    answers = [
        await client.post(
            "/api/invitations/accept",
            json={
                "token": token,
                "name": "Mallory",
                "password": "correct horse battery staple",
            },
        )
        for token in (
            f"{one.tenant}.{'x' * 43}",
            f"{'0' * 32}.{'x' * 43}",
            f"{suspended.tenant}.{'x' * 43}",
            "no token at all",
        )
    ]

    assert len({seen(answer) for answer in answers}) == 1
    assert answers[0].status_code == 404


def test_the_document_and_the_code_know_the_same_plans() -> None:
    from tenant_service.domain.plan import PLANS, PlanName  # noqa: PLC0415 - this test's own

    assert set(get_args(PlanName)) == set(PLANS)
