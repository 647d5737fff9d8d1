"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from auth_service import create
from mtenant_chassis.testing import Place, RecordingEvents, fuzz, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")
PASSWORD = "correct horse battery staple"


def nobodys(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/tenants/registration":
        return httpx.Response(200, json={"open_registration": True})
    return httpx.Response(404, json={"code": "NOT_FOUND"})


async def check(place: Place, own: Any, tenant: str, directory: Path, *options: str) -> None:
    settings = place.settings("auth-service", services={"tenant-service": "http://tenant-service"})
    app = create(
        settings,
        own(account_attempts=100_000, address_attempts=100_000),
        events=RecordingEvents().open,
        transport=httpx.MockTransport(nobodys),
    )
    async with serving(app, settings) as (url, _), httpx.AsyncClient(base_url=url) as http:
        form = {
            "grant_type": "client_credentials",
            "audience": "auth-service",
            "tenant": tenant,
        }
        secret = ("tenant-service", "a-secret-of-tenant-service")
        service = (await http.post("/api/auth/token", data=form, auth=secret)).json()
        account = {
            "email": "ada@example.com",
            "name": "Ada",
            "role": "owner",
            "password": PASSWORD,
        }
        bearer = {"authorization": f"Bearer {service['access_token']}"}
        made = await http.put(f"/api/auth/users/{uuid4()}", headers=bearer, json=account)
        assert made.status_code == 201
        body = {"tenant": tenant, "email": "ada@example.com", "password": PASSWORD}
        person = (await http.post("/api/auth/login", json=body)).json()
        for tokens in (person, service):
            await fuzz(
                url,
                tokens["access_token"],
                *options,
                config=CONFIG,
                directory=directory,
                paths="^/(api|validate|.well-known)",
            )


async def test_reads_at_the_edges_of_the_document_are_answered_as_it_says(
    place: Place, own: Any, acme: str, tmp_path: Path
) -> None:
    options = ["--phases", "examples,coverage", "--max-examples", "1", "--include-method", "GET"]
    await check(place, own, acme, tmp_path, *options)


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_the_document_says(
    place: Place, own: Any, acme: str, tmp_path: Path
) -> None:
    await check(place, own, acme, tmp_path, "--max-examples", "50")
