"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Place, fuzz, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")


Check = Callable[..., Awaitable[None]]


@pytest.fixture
def check(service: Any, place: Place, issuer: Issuer, registered: Any, tmp_path: Path) -> Check:
    """Ask a served app everything, as an organization's owner and as a service."""
    settings = place.settings("tenant-service")  # of these the server reads where to listen only
    scopes = ("tenants:own", "invitations:manage", "settings:manage", "users:read", "audit:manage")

    async def asked(*options: str) -> None:
        async with serving(service.app, settings) as (url, _):
            async with httpx.AsyncClient(base_url=url) as client:
                one = await registered(client)
            of_service = issuer.service_token(
                "operator", audience="tenant-service", tenant=one.tenant, scopes=scopes
            )
            for token in (issuer.token(one.tenant, "owner"), of_service):
                await fuzz(url, token, *options, config=CONFIG, directory=tmp_path)

    return asked


async def test_the_documents_examples_and_edges_are_answered_as_it_says(check: Check) -> None:
    await check("--phases", "examples,coverage", "--max-examples", "1")


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_the_document_says(check: Check) -> None:
    await check("--max-examples", "50")
