"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Place, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def fuzz(
    url: str, token: str, directory: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--include-path-regex", "^/api/"),
        *("--header", f"Authorization: Bearer {token}", "--no-color", *options),
        # On a connection that is kept, a small answer may wait 40 ms for an acknowledgement (Nagle).
        *("--header", "Connection: close"),
    ]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=directory,  # where it writes what it has sent
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


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
                done = await fuzz(url, token, tmp_path, *options)
                assert done.returncode == 0, f"{done.stdout[-5000:]}{done.stderr[-2000:]}"

    return asked


async def test_the_documents_examples_and_edges_are_answered_as_it_says(check: Check) -> None:
    await check("--phases", "examples,coverage", "--max-examples", "1")


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_the_document_says(check: Check) -> None:
    await check("--max-examples", "50")
