"""Every operation of the OpenAPI document, asked by everybody who may not: a new one joins by itself."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import uuid4

import pytest
from openapi_spec_validator import validate

from auth_service import AuthServiceSettings, create
from mtenant_chassis import AccessToken, Settings
from mtenant_chassis.auth import ROLES, permits
from mtenant_chassis.testing import Operation, operations, seen
from mtenant_database import DatabaseConfig

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"
BODIES: dict[str, dict[str, Any]] = {
    "Registration": {"email": "a@b", "name": "A", "password": PASSWORD},
    "Credentials": {"email": "a@b", "password": "x"},
    "Refresh": {"refresh_token": "x"},
    "Token": {"token": "x"},
    "Forgotten": {"email": "a@b"},
    "Reset": {"token": "x", "password": PASSWORD},
    "PasswordChange": {"current_password": "x", "new_password": PASSWORD},
    "ProfilePatch": {"name": "A"},
    "NewAccount": {"email": "a@b", "name": "A", "role": "viewer"},
    "NewRole": {"role": "viewer"},
    "NewKey": {"name": "A", "scopes": ["a:read"]},
}
FORMS: dict[str, dict[str, str]] = {
    "/api/auth/token": {"grant_type": "client_credentials"},
    "/api/auth/introspect": {"token": "x"},
}
PUBLIC = {
    "/.well-known/jwks.json",
    "/api/auth/forgot",
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/auth/register",
    "/api/auth/reset",
    "/api/auth/token",
    "/api/auth/verify-email",
    "/health",
    "/health/database",
    "/health/detailed",
    "/live",
    "/metrics",
    "/ready",
}


APP = create(
    Settings(service="auth-service", environment="dev", database=DatabaseConfig(name="crm")),
    AuthServiceSettings(),
)
OPERATIONS = operations(APP, "/")
CLOSED = [one for one in OPERATIONS if not one.is_public]


def asked(operation: Operation) -> dict[str, Any]:
    if operation.path in FORMS:
        return {"data": FORMS[operation.path]}
    return {} if operation.schema is None else {"json": BODIES[operation.schema]}


async def ask(
    standing: Any, operation: Operation, headers: dict[str, str], name: str | None = None
) -> Any:
    url = operation.url(name or str(uuid4()))
    return await standing.http.request(operation.method, url, headers=headers, **asked(operation))


def test_the_document_is_valid() -> None:
    found = APP.openapi()
    validate(found)
    assert found["openapi"].startswith("3.1")


def test_what_is_open_to_everybody_was_meant_to_be() -> None:
    assert {one.path for one in OPERATIONS if one.is_public} == PUBLIC


def test_every_operation_declares_problems_and_a_body_that_this_matrix_knows() -> None:
    for path, methods in APP.openapi()["paths"].items():
        for said in methods.values():
            for status, answer in said["responses"].items():
                if path in {"/ready", "/health", "/health/detailed", "/health/database"}:
                    continue  # their 503 is an answer
                if status == "default" or int(status) >= 400:
                    assert "application/problem+json" in answer["content"], (path, status)
    for one in OPERATIONS:
        assert one.schema is None or one.schema in BODIES, one


def test_no_answer_has_a_place_for_a_password_or_its_hash() -> None:
    found = APP.openapi()
    answers = set(
        re.findall(
            r"schemas/(\w+)",
            str(
                [
                    said["responses"]
                    for methods in found["paths"].values()
                    for said in methods.values()
                ]
            ),
        )
    )
    names = {
        name
        for schema in answers
        for name in found["components"]["schemas"][schema].get("properties", {})
    }
    assert not {name for name in names if "password" in name or "hash" in name}


@pytest.mark.parametrize("operation", CLOSED, ids=str)
async def test_whoever_has_no_good_token_is_nobody(
    standing: Any, acme: str, operation: Operation
) -> None:
    keyring = standing.app.state.auth.keyring
    said: dict[str, Any] = {
        "subject": str(uuid4()),
        "issuer": "mtenant-auth",
        "audience": "mtenant",
        "tenant": acme,
        "roles": ("owner",),
        "session": str(uuid4()),
    }
    expired = keyring.sign(AccessToken(**{**said, "expires": time.time() - 60}))
    elsewhere = keyring.sign(
        AccessToken(**{**said, "audience": "deal-service-x", "expires": time.time() + 60})
    )
    callers = {
        "TOKEN_MISSING": {},
        "TOKEN_INVALID": {"authorization": f"Bearer {expired}"},
        "TOKEN_INVALID ": {"authorization": f"Bearer {elsewhere}"},
        "TOKEN_INVALID  ": {"authorization": "Bearer nonsense"},
        "TOKEN_INVALID   ": {"authorization": "Basic YTpi"},
    }
    for code, headers in callers.items():
        answer = await ask(standing, operation, headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code.strip())
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "operation", [one for one in CLOSED if one.permission is not None], ids=str
)
async def test_a_role_that_does_not_reach_so_far_is_refused_and_one_that_does_is_not(
    standing: Any, acme: str, operation: Operation
) -> None:
    await standing.person(acme, "owner")  # so that none of those below is the last
    for role in ROLES:
        person = await standing.person(acme, role)
        answer = await ask(standing, operation, person.bearer)
        assert operation.permission is not None
        if operation.callers == "services":
            assert answer.json()["code"] == "SERVICES_ONLY"
        elif permits([role], operation.permission):
            assert answer.status_code in {200, 204, 404}, answer.text
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_MISSING")


@pytest.mark.parametrize("operation", [one for one in CLOSED if one.ids], ids=str)
async def test_of_another_tenant_is_like_absent_and_malformed_is_a_bad_request(
    standing: Any, acme: str, other: str, operation: Operation
) -> None:
    ada = await standing.person(acme, "member")
    eve = (await standing.person(other, "owner")).bearer
    if operation.callers == "services":
        eve = await standing.service_bearer(other)
    made = await standing.http.post(
        "/api/auth/api-keys", headers=ada.bearer, json={"name": "k", "scopes": ["a:read"]}
    )
    session = (await standing.http.get("/api/auth/sessions", headers=ada.bearer)).json()["items"]
    theirs = {"user_id": ada.id, "session_id": session[0]["id"], "key_id": made.json()["id"]}
    foreign_id, absent_id = theirs[operation.ids[0]], str(uuid4())
    answers = []
    for name in (foreign_id, absent_id):
        answer = await ask(standing, operation, eve, name)
        answers.append(seen(answer, name))

    if operation.schema == "NewAccount":  # what is absent is made: an id is the caller's choice
        assert [one.status for one in answers] == [201, 409]
    else:
        assert answers[0] == answers[1]
        assert answers[0].status == 404
    assert (await standing.http.get("/api/auth/profile", headers=ada.bearer)).status_code == 200
    for name in ("7", "x" * 36, "%00", "' or 1=1 --", f"{uuid4()}x"):
        answer = await ask(standing, operation, eve, name)
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED"), name


@pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if one.schema is not None], ids=str
)
async def test_a_body_that_is_none_is_a_bad_request_whatever_it_is(
    standing: Any, acme: str, operation: Operation
) -> None:
    person = await standing.person(acme, "owner")
    headers = (
        await standing.service_bearer(acme) if operation.callers == "services" else person.bearer
    )
    url = operation.url(str(uuid4()))
    bodies = [b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff", b"1" * 5000, b'{"a":' * 2000]
    for body in bodies:
        answer = await standing.http.request(
            operation.method,
            url,
            headers={**headers, "content-type": "application/json"},
            content=body,
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED"), body
    assert operation.schema is not None
    for name in ("role_", "is_admin", "__proto__"):
        more = {**BODIES[operation.schema], name: "owner"}
        answer = await standing.http.request(operation.method, url, headers=headers, json=more)
        assert answer.status_code == 400
        assert name not in answer.text
