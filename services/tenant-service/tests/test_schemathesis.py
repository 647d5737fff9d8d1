"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtenant_chassis.testing import Issuer, Place, running, serving
from mtenant_config import Secret

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def fuzz(url: str, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--include-path-regex", "^/api/"),
        *("--header", f"Authorization: Bearer {token}", "--no-color", *options),
    ]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=600, check=False
    )


async def check(
    *, service: Any, place: Place, issuer: Issuer, registered: Any, options: list[str]
) -> None:
    settings = place.settings(
        "tenant-service",
        migrate=place.migrate,
        services={"auth-service": "http://auth"},
        auth=replace(issuer.settings, client_secret=Secret("s3cr3t")),
    )
    async with running(service.app) as client:
        one = await registered(client)
    scopes = ("tenants:own", "invitations:manage", "settings:manage", "users:read", "audit:manage")
    tokens = {
        "person": issuer.token(one.tenant, "owner"),
        "service": issuer.service_token(
            "operator", audience="tenant-service", tenant=one.tenant, scopes=scopes
        ),
    }
    async with serving(service.app, settings) as (url, _):
        for who, token in tokens.items():
            done = await fuzz(url, token, *options)
            assert done.returncode == 0, f"{who}: {done.stdout[-5000:]}{done.stderr[-2000:]}"


async def test_the_documents_examples_and_edges_are_answered_as_it_says(
    service: Any, place: Place, issuer: Issuer, registered: Any
) -> None:
    options = ["--phases", "examples,coverage", "--max-examples", "1"]
    await check(service=service, place=place, issuer=issuer, registered=registered, options=options)


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_the_document_says(
    service: Any, place: Place, issuer: Issuer, registered: Any
) -> None:
    options = ["--max-examples", "50"]
    await check(service=service, place=place, issuer=issuer, registered=registered, options=options)
