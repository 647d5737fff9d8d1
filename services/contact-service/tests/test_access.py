"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from openapi_spec_validator import validate

from contact_service import ContactServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.auth import ROLES, permits
from mtenant_chassis.auth.permissions import VERBS
from mtenant_chassis.testing import Issuer
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

METHODS = {"get", "put", "post", "patch", "delete"}
ABSENT = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"


def document() -> dict[str, Any]:
    settings = Settings(service="contact-service", database=DatabaseConfig(name="crm"))
    return create(settings, ContactServiceSettings()).openapi()


@dataclass(frozen=True)
class Operation:
    """An operation of the document."""

    method: str
    path: str
    said: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def permission(self) -> str:
        return str(self.said["x-permission"])

    @property
    def ids(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def url(self, identity: str = ABSENT) -> str:
        return re.sub(r"\{\w+\}", identity, self.path)


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        if path.startswith("/api/"):
            for method, said in methods.items():
                if method in METHODS:
                    yield Operation(method.upper(), path, said)


ALL = list(operations())
WITH_ID = [one for one in ALL if one.ids]
BODIES: dict[str, Any] = {
    "contacts": {"first_name": "x"},
    "companies": {"name": "x"},
    "custom-fields": {"label": "x"},
    "merge": {"contact_ids": [ABSENT]},
}


def test_the_document_is_valid_openapi() -> None:
    validate(document())


def test_every_operation_is_closed_and_declares_what_it_answers_to_strangers() -> None:
    assert len(ALL) >= 30
    for one in ALL:
        assert {"401", "403", "404", "429", "500", "503"} <= set(one.said["responses"]), str(one)
        assert one.said["security"] == [{"bearer": []}]


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_caller_without_a_good_token_is_unknown(
    operation: Operation, standing: Any
) -> None:
    issuer, tenant = standing.issuer, standing.tenant
    headers = [
        {},
        {"authorization": "Bearer nonsense"},
        issuer.bearer(tenant, "owner", expires=time.time() - 60),
        issuer.bearer(tenant, "owner", audience="deal-service"),
        Issuer().bearer(tenant, "owner"),
    ]
    for one in headers:
        answer = await standing.http.request(operation.method, operation.url(), headers=one)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_role_may_what_the_document_says_and_nothing_more(
    operation: Operation, standing: Any
) -> None:
    for role in (*ROLES, "emperor"):
        answer = await standing.of(role=role).ask(operation.method, operation.url())
        may = permits([role], operation.permission)
        assert (answer.status_code != 403) == may, (role, answer.status_code, answer.text)
        assert answer.status_code not in {401, 500}
        if not may:
            assert answer.json()["code"] == "PERMISSION_MISSING"


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_service_may_what_its_scopes_say(operation: Operation, standing: Any) -> None:
    noun, _, verb = operation.permission.partition(":")
    verbs: list[str] = list(VERBS)
    lower = verbs[max(verbs.index(verb) - 1, 0)]
    scopes = {
        (): False,
        (f"other:{verb}",): False,
        (f"{noun}:{lower}",): lower == verb,
        (f"{noun}:{verb}",): True,
    }
    for given, may in scopes.items():
        token = standing.issuer.service_token(
            "some-service", audience="contact-service", tenant=standing.tenant, scopes=given
        )
        headers = {"authorization": f"Bearer {token}"}
        answer = await standing.http.request(operation.method, operation.url(), headers=headers)
        assert (answer.status_code != 403) == may, (given, answer.text)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(operation: Operation, standing: Any) -> None:
    for identity in ("1", "..%2F..", "x" * 500, "%00", f"{ABSENT}'--"):
        headers = {"if-match": "*"}
        answer = await standing.ask(operation.method, operation.url(identity), headers=headers)
        assert answer.status_code in {400, 404}, identity
        assert answer.headers["content-type"] == "application/problem+json"
        if "%2F" not in identity:  # which is another path
            assert answer.json()["code"] == "VALIDATION_FAILED"


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
    operation: Operation, standing: Any, theirs: dict[str, str]
) -> None:
    last = operation.path.rpartition("/")[2]
    body = BODIES.get(last) or BODIES[operation.path.split("/")[2]]
    options: dict[str, Any] = {"headers": {"if-match": "*"}}
    if operation.method in {"PUT", "PATCH"} or last == "merge":
        options["json"] = body
    seen = []
    for ids in (theirs, dict.fromkeys(operation.ids, str(uuid4()))):
        url = operation.path.format(**ids)
        answer = await standing.ask(operation.method, url, **options)
        text = answer.text.replace(answer.headers["x-request-id"], "R").replace(url, "URL")
        names = sorted(name for name in answer.headers)
        seen.append((answer.status_code, text, names))
    assert seen[0] == seen[1]
    assert seen[0][0] == 404
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
    operation: Operation, standing: Any
) -> None:
    seen = []
    for tenant in ("0" * 32, "1" * 32):
        answer = await standing.of(tenant).ask(operation.method, operation.url())
        seen.append((answer.status_code, answer.text.replace(answer.headers["x-request-id"], "R")))
    assert seen[0] == seen[1]
    assert seen[0][0] in {400, 404}
