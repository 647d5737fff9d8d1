"""Every operation of the OpenAPI document, by every kind of caller. A new route joins by itself."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from openapi_spec_validator import validate

from deal_service import DealServiceSettings, create
from mtenant_chassis import Settings
from mtenant_chassis.auth import ROLES, permits
from mtenant_chassis.auth.permissions import VERBS
from mtenant_chassis.testing import Issuer, Place
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

METHODS = {"get", "put", "post", "patch", "delete"}
ABSENT = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"
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
}


def document() -> dict[str, Any]:
    settings = Settings(service="deal-service", database=DatabaseConfig(name="crm"))
    return create(settings, DealServiceSettings()).openapi()


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

    @property
    def schema(self) -> str | None:
        content = self.said.get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        return reference.rpartition("/")[2] or None

    @property
    def body(self) -> dict[str, Any]:
        return {} if self.schema is None else {"json": BODIES[self.schema]}

    def url(self, **ids: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], ABSENT), self.path)


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        if path.startswith("/api/"):
            for method, said in methods.items():
                if method in METHODS:
                    yield Operation(method.upper(), path, said)


ALL = list(operations())
WITH_ID = [one for one in ALL if one.ids]
LISTS = [one for one in ALL if not one.ids and one.method == "GET"]


def test_the_document_is_valid_openapi() -> None:
    found = document()
    validate(found)
    assert found["openapi"].startswith("3.1")


def test_no_operation_is_public_and_each_declares_what_it_answers_to_strangers() -> None:
    assert len(ALL) >= 29
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
    ids = {
        "deal_id": deal["id"],
        "contact_id": contact,
        "pipeline_id": pipeline.json()["id"],
        "stage_id": pipeline.json()["stages"][0]["id"],
        "reason_id": reason.json()["id"],
    }
    return Things(tenant, ids)


def everything(world: Any, tenant: str) -> list[Any]:
    """Return all rows of a tenant."""
    tables = ("pipelines", "stages", "lost_reasons", "deals", "deal_visits", "deal_contacts")
    return [world.rows(tenant, f"select t::text from {one} t order by 1") for one in tables]


@pytest.fixture(scope="module")
async def theirs(standing: Any, place: Place) -> AsyncIterator[Things]:
    """Another tenant's things, which nothing in this file changes."""
    made = await things(standing, place)
    before = everything(standing, made.tenant)
    yield made
    assert everything(standing, made.tenant) == before


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_caller_without_a_good_token_is_unknown(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str
) -> None:
    service = issuer.service_token("x", audience="contact-service", tenant=tenant)
    headers = [
        {},
        {"authorization": "Bearer nonsense"},
        issuer.bearer(tenant, "owner", expires=time.time() - 60),
        issuer.bearer(tenant, "owner", audience="contact-service"),
        Issuer().bearer(tenant, "owner"),
        {"authorization": f"Bearer {service}"},
    ]
    for one in headers:
        answer = await standing.http.request(
            operation.method, operation.url(), headers=one, **operation.body
        )
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_role_may_what_the_document_says_and_nothing_more(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str
) -> None:
    for role in (*ROLES, "emperor"):
        answer = await standing.http.request(
            operation.method, operation.url(), headers=issuer.bearer(tenant, role), **operation.body
        )
        if permits([role], operation.permission):
            assert answer.status_code not in {401, 403, 500}, answer.text
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_MISSING")


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_service_needs_the_scope(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str
) -> None:
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
        token = issuer.service_token("s", audience="deal-service", tenant=tenant, scopes=given)
        answer = await standing.http.request(
            operation.method,
            operation.url(),
            headers={"authorization": f"Bearer {token}"},
            **operation.body,
        )
        assert (answer.status_code != 403) == may, (given, answer.text)


@pytest.mark.parametrize("operation", ALL, ids=str)
async def test_a_service_without_a_tenant_has_nothing(
    *, operation: Operation, standing: Any, issuer: Issuer
) -> None:
    token = issuer.service_token("s", audience="deal-service", scopes=(operation.permission,))
    answer = await standing.http.request(
        operation.method,
        operation.url(),
        headers={"authorization": f"Bearer {token}"},
        **operation.body,
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "TOKEN_WITHOUT_TENANT")


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_a_malformed_id_is_a_bad_request(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str
) -> None:
    for identity in ("1", "..%2F..", "x" * 500, "%00", f"{ABSENT}'--", "%F0%28"):
        url = operation.url(**dict.fromkeys(operation.ids, identity))
        answer = await standing.http.request(
            operation.method, url, headers=issuer.bearer(tenant, "owner"), **operation.body
        )
        assert answer.status_code in {400, 404}, identity
        assert answer.headers["content-type"] == "application/problem+json"
        if "%2F" not in identity:  # which is another path
            assert answer.json()["code"] == "VALIDATION_FAILED"


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_what_is_another_tenants_is_what_is_not_there(
    *, operation: Operation, standing: Any, issuer: Issuer, tenant: str, theirs: Things
) -> None:
    answers = [
        await standing.http.request(
            operation.method,
            operation.url(**ids),
            headers=issuer.bearer(tenant, "owner"),
            **operation.body,
        )
        for ids in (theirs.ids, dict.fromkeys(theirs.ids, ABSENT))
    ]
    foreign, absent = (
        plain(answer, ids.values())
        for answer, ids in zip(answers, (theirs.ids, {"": ABSENT}), strict=True)
    )

    assert foreign == absent
    assert foreign[0] == 404


async def test_each_operation_with_an_id_finds_what_is_its_own(standing: Any, place: Place) -> None:
    """So that the 404 of the test above is about the tenant, and not about the request."""
    for operation in WITH_ID:
        mine = await things(standing, place)
        if operation.path.endswith("/restore"):
            url = f"/api/deals/{mine.ids['deal_id']}"
            await standing.http.delete(url, headers=standing.bearer(mine.tenant, "owner"))
        answer = await standing.http.request(
            operation.method,
            operation.url(**mine.ids),
            headers=standing.bearer(mine.tenant, "owner"),
            **operation.body,
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
        seen = []
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
            seen += [
                [
                    plain(
                        await world.http.request(
                            method, path, json=body, headers=world.bearer(mine, "owner")
                        ),
                        ids.values(),
                    )
                    for method, path, body in asked
                ]
            ]
        assert seen[0] == seen[1]
        assert {status for status, *_ in seen[0]} == {200 if where == "a bulk" else 422}
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
    *, operation: Operation, standing: Any, issuer: Issuer
) -> None:
    first, second = [
        plain(
            await standing.http.request(
                operation.method,
                operation.url(),
                headers=issuer.bearer(tenant, "owner"),
                **operation.body,
            ),
            (),
        )
        for tenant in ("0" * 32, "1" * 32)
    ]
    assert first == second
    assert first[0] == 404


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


def plain(answer: Any, identities: Any) -> tuple[int, tuple[tuple[str, str], ...], str]:
    """Return what a caller sees, without what is different in every answer."""
    body = answer.text
    for header in ("x-request-id", "traceparent"):
        if value := answer.headers.get(header):
            body = body.replace(value, "<request>")
    for identity in identities:
        body = body.replace(identity, "<id>")
    varying = {"x-request-id", "traceparent", "date", "server-timing"}
    headers = tuple(
        sorted((name, value) for name, value in answer.headers.items() if name not in varying)
    )
    return answer.status_code, headers, body
