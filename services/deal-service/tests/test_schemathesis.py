"""Requests that the OpenAPI document allows, and many that it does not: no fault, no answer off the document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import Issuer, Place, RecordingEvents, fuzz, serving

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCOPES = ("deals:own", "pipelines:own", "lost-reasons:own", "custom-fields:own", "audit:own")


Check = Callable[..., Awaitable[None]]


EVERYTHING = "^/api/"
BOUNDED = "^/api/deals(/forecast|/analytics|/bulk|/custom-fields(/{field_id})?)?$"


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
            await fuzz(
                url, token, *options, config=CONFIG, directory=tmp_path, paths=paths, timeout=900
            )

    return asked


async def test_the_edges_of_the_document_are_answered_as_it_says(check: Check) -> None:
    await check("person", BOUNDED, "--phases", "coverage", "--max-examples", "1")


@pytest.mark.slow
@pytest.mark.parametrize("who", ["person", "service"])
async def test_whatever_is_sent_is_answered_as_the_document_says(check: Check, who: str) -> None:
    await check(who, EVERYTHING, "--max-examples", "40")
