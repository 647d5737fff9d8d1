"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from openapi_spec_validator import validate

from communication_service import CommunicationServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.auth import ROLES, permits
from mtenant_chassis.auth.permissions import VERBS
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

PUBLIC = {"GET /t/o.gif", "GET /t/c", "GET /t/u", "POST /t/u"}
METHODS = {"get", "put", "post", "patch", "delete"}
ABSENT = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"


def document() -> dict[str, Any]:
    settings = Settings(service="communication-service", database=DatabaseConfig(name="crm"))
    return create(settings, CommunicationServiceSettings()).openapi()


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
        return re.sub(r"\{\w+\}", "1", path)


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        if path.startswith(("/api/", "/t/")):
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
def tenant(place: Place) -> str:
    """A tenant that nobody changes."""
    return place.tenant()


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


@pytest.mark.parametrize("operation", CLOSED, ids=str)
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
            "some-service", audience="communication-service", tenant=tenant, scopes=given
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


BODIES: dict[str, dict[str, Any]] = {
    "PATCH": {},
    "PUT": {"name": "n", "subject": "s", "text": "t"},
    "snooze": {"until": "2030-01-01T00:00:00Z"},
    "preview": {},
}


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    *, operation: Operation, client: Any, issuer: Issuer, tenant: str, belongings: dict[str, str]
) -> None:
    foreign_id = belongings[operation.ids[0]]
    said = BODIES.get(operation.path.rpartition("/")[2], BODIES.get(operation.method))
    answers = [
        await client.request(
            operation.method,
            operation.url(identity),
            json=said,
            headers=issuer.bearer(tenant, "owner"),
        )
        for identity in (foreign_id, ABSENT)
    ]
    foreign, absent = (
        plain(answer, identity)
        for answer, identity in zip(answers, (foreign_id, ABSENT), strict=True)
    )
    assert foreign == absent
    assert foreign[0] == 404
    theirs = await client.request(
        operation.method,
        operation.url(foreign_id),
        json=said,
        headers=issuer.bearer(belongings["tenant"], "viewer"),
    )
    assert theirs.status_code in {200, 403}  # it is there


@pytest.mark.parametrize("operation", CLOSED, ids=str)
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
    assert first[0] in {400, 404}


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
