"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Place, RecordingEvents, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SCOPES = ("deals:own", "pipelines:own", "lost-reasons:own", "audit:own")


async def fuzz(
    url: str, token: str, paths: str, directory: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--include-path-regex", paths),
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
        timeout=900,
        check=False,
    )


Check = Callable[..., Awaitable[None]]


EVERYTHING = "^/api/"
BOUNDED = "^/api/deals(/forecast|/analytics|/bulk)?$"


def neighbours(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/auth/token":
        return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
    return httpx.Response(200, json={"id": request.url.path.rpartition("/")[2]})


@pytest.fixture
def check(make_app: Any, place: Place, issuer: Issuer, tmp_path: Path) -> Check:
    """Ask a served app everything."""
    app = make_app(transport=httpx.MockTransport(neighbours), events=RecordingEvents().open)
    settings = place.settings("deal-service")  # of these the server reads where to listen only

    async def asked(who: str, paths: str, *options: str) -> None:
        tenant = await place.new_tenant()
        token = issuer.token(tenant, "owner")
        if who == "service":
            token = issuer.service_token(
                "operator", audience="deal-service", tenant=tenant, scopes=SCOPES
            )
        async with serving(app, settings) as (url, _):
            done = await fuzz(url, token, paths, tmp_path, *options)
        assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"

    return asked


async def test_the_edges_of_the_document_are_answered_as_it_says(check: Check) -> None:
    await check("person", BOUNDED, "--phases", "coverage", "--max-examples", "1")


@pytest.mark.slow
@pytest.mark.parametrize("who", ["person", "service"])
async def test_whatever_is_sent_is_answered_as_the_document_says(check: Check, who: str) -> None:
    await check(who, EVERYTHING, "--max-examples", "40")
