"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis.testing import Issuer, Place, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


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
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


Check = Callable[..., Awaitable[None]]


@pytest.fixture
def check(build_app: Any, place: Place, tmp_path: Path) -> Check:
    """Ask a served app everything, as an owner and as a service."""
    settings = place.settings("contact-service")  # of these the server reads where to listen only
    scopes = ("contacts:manage", "companies:manage", "custom-fields:manage", "audit:manage")

    async def asked(*options: str, services: bool) -> None:
        issuer, tenant = Issuer(), await place.new_tenant()
        of_service = issuer.service_token(
            "some-service", audience="contact-service", tenant=tenant, scopes=scopes
        )
        async with serving(build_app(issuer), settings) as (url, _):
            person = issuer.token(tenant, "owner")
            for token in (person, of_service) if services else (person,):
                done = await fuzz(url, token, tmp_path, *options)
                assert done.returncode == 0, f"{done.stdout[-5000:]}{done.stderr[-2000:]}"

    return asked


async def test_the_documents_examples_and_edges_are_answered_as_it_says(check: Check) -> None:
    await check("--phases", "examples,coverage", "--max-examples", "1", services=False)


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_the_document_says(check: Check) -> None:
    await check("--max-examples", "50", services=True)
