"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, get_args
from uuid import uuid4

import httpx2 as httpx
import pytest
from openapi_spec_validator import validate

from mtenant_chassis import Settings
from mtenant_chassis.auth import ROLES, permits
from mtenant_chassis.auth.permissions import VERBS
from mtenant_chassis.testing import Issuer, running
from mtenant_database import DatabaseConfig
from tenant_service import TenantServiceSettings, create

pytestmark = pytest.mark.anyio

PUBLIC = {
    "POST /api/tenants/register",
    "GET /api/tenants/registrations/{registration_id}",
    "GET /api/tenants/subdomains/{subdomain}",
    "POST /api/invitations/accept",
}
METHODS = {"get", "put", "post", "patch", "delete"}
ABSENT = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"


def document() -> dict[str, Any]:
    settings = Settings(service="tenant-service", database=DatabaseConfig(name="crm"))
    return create(settings, TenantServiceSettings()).openapi()


@dataclass(frozen=True)
class Operation:
    """An operation of the document."""

    method: str
    path: str
    said: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_public(self) -> bool:
        return self.said.get("security") == []

    @property
    def callers(self) -> str:
        return str(self.said.get("x-callers", "people"))

    @property
    def permission(self) -> str | None:
        return self.said.get("x-permission")

    @property
    def ids(self) -> list[str]:
        return [
            one["name"]
            for one in self.said.get("parameters", ())
            if one["in"] == "path" and one["schema"].get("format") == "uuid"
        ]

    def url(self, identity: str = ABSENT) -> str:
        path = re.sub(r"\{\w*id\}", identity, self.path)
        return re.sub(r"\{\w+\}", "some-name", path)


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        if path.startswith("/api/"):
            for method, said in methods.items():
                if method in METHODS:
                    yield Operation(method.upper(), path, said)


ALL = list(operations())
CLOSED = [one for one in ALL if not one.is_public]
WITH_ID = [one for one in CLOSED if one.ids]


def test_the_document_is_valid_openapi() -> None:
    validate(document())


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


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_caller_without_a_good_token_is_unknown(
    *, operation: Operation, client: Any, issuer: Issuer, tenant: str
) -> None:
    stranger = Issuer()
    headers = [
        {},
        {"authorization": "Bearer nonsense"},
        issuer.bearer(tenant, "owner", expires=time.time() - 60),
        issuer.bearer(tenant, "owner", audience="deal-service"),
        stranger.bearer(tenant, "owner"),
    ]
    answers = [
        await client.request(operation.method, operation.url(), headers=one) for one in headers
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_a_role_may_what_the_document_says_and_nothing_more(
    *, operation: Operation, client: Any, issuer: Issuer, tenant: str
) -> None:
    answers = {
        role: await client.request(
            operation.method,
            operation.url(),
            headers=issuer.bearer(tenant, role, user=str(uuid4())),
        )
        for role in (*ROLES, "emperor")
    }
    for role, answer in answers.items():
        permission = operation.permission
        may = operation.callers == "people" and (permission is None or permits([role], permission))
        assert (answer.status_code != 403) == may, (role, answer.status_code, answer.text)
        assert answer.status_code not in {401, 500}
        if not may:
            wanted = "SERVICES_ONLY" if operation.callers == "services" else "PERMISSION_MISSING"
            assert answer.json()["code"] == wanted


@pytest.mark.parametrize("operation", [one for one in CLOSED if one.callers == "services"], ids=str)
async def test_a_service_needs_the_scope(
    *, operation: Operation, client: Any, issuer: Issuer, tenant: str
) -> None:
    noun, _, verb = str(operation.permission).partition(":")
    verbs: list[str] = list(VERBS)
    lower = verbs[max(verbs.index(verb) - 1, 0)]
    scopes = {
        (): False,
        (f"other:{verb}",): False,
        (f"{noun}:{lower}",): lower == verb,
        (f"{noun}:{verb}",): True,
    }
    for given, may in scopes.items():
        token = issuer.service_token(
            "some-service", audience="tenant-service", tenant=tenant, scopes=given
        )
        answer = await client.request(
            operation.method, operation.url(), headers={"authorization": f"Bearer {token}"}
        )
        assert (answer.status_code != 403) == may, (given, answer.text)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(
    *, operation: Operation, client: Any, issuer: Issuer, tenant: str
) -> None:
    for identity in ("1", "..%2F..", "x" * 500, "%00", f"{ABSENT}'--"):
        answer = await client.request(
            operation.method,
            operation.url(identity),
            headers=issuer.bearer(tenant, "owner"),
        )
        assert answer.status_code in {400, 404}, identity
        assert answer.headers["content-type"] == "application/problem+json"
        if "%2F" not in identity:  # which is another path
            assert answer.json()["code"] == "VALIDATION_FAILED"


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    *, operation: Operation, client: Any, issuer: Issuer, registered: Any
) -> None:
    mine, theirs = await registered(client), await registered(client)
    made = await client.post(
        "/api/tenants/invite",
        json={"email": "grace@example.com"},
        headers=issuer.bearer(theirs.tenant, "owner"),
    )
    foreign_id = made.json()["id"]
    answers = [
        await client.request(
            operation.method,
            operation.url(identity),
            headers=issuer.bearer(mine.tenant, "owner"),
        )
        for identity in (foreign_id, ABSENT)
    ]
    still = await client.get(
        made.headers["location"], headers=issuer.bearer(theirs.tenant, "owner")
    )

    foreign, absent = (
        plain(answer, identity)
        for answer, identity in zip(answers, (foreign_id, ABSENT), strict=True)
    )
    assert foreign == absent
    assert foreign[0] == 404
    assert still.json() == made.json()


@pytest.mark.parametrize("operation", [one for one in CLOSED if one.callers == "people"], ids=str)
async def test_a_token_of_a_tenant_that_is_not_there_tells_as_little(
    *, operation: Operation, client: Any, issuer: Issuer
) -> None:
    answers = [
        await client.request(
            operation.method, operation.url(), headers=issuer.bearer(tenant, "owner")
        )
        for tenant in ("0" * 32, "1" * 32)
    ]
    first, second = (plain(answer, "") for answer in answers)
    assert first == second
    assert first[0] in {200, 400, 404}
    if first[0] == 200:
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

    assert len({plain(answer, "") for answer in answers}) == 1
    assert answers[0].status_code == 404


def plain(answer: Any, identity: str) -> tuple[int, tuple[tuple[str, str], ...], str]:
    """Return what a caller sees, without what is different in every answer."""
    body = answer.text
    for header in ("x-request-id", "traceparent"):
        if value := answer.headers.get(header):
            body = body.replace(value, "<request>")
    if identity:
        body = body.replace(identity, "<id>")
    varying = {"x-request-id", "traceparent", "date", "server-timing"}
    headers = tuple(
        sorted((name, value) for name, value in answer.headers.items() if name not in varying)
    )
    return answer.status_code, headers, body


def test_the_document_and_the_code_know_the_same_plans() -> None:
    from tenant_service.domain.plan import PLANS, PlanName  # noqa: PLC0415 - this test's own

    assert set(get_args(PlanName)) == set(PLANS)
