"""Nothing that opens an account stands in a log line, an event, an audit entry, a trace or an error."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"
NEW = "another horse, another battery"


async def test_no_secret_leaves_by_another_door(
    make_world: Any,
    acme: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caplog.set_level(logging.DEBUG)
    with recorded_logs() as lines:
        async with make_world(tracer_provider=provider) as world:
            ada = await world.person(acme, "owner")
            refreshed = (await world.refresh(ada.refresh)).json()
            await world.refresh(refreshed["refresh_token"])
            key = await world.http.post(
                "/api/auth/api-keys", headers=ada.bearer, json={"name": "k", "scopes": ["a:read"]}
            )
            await world.http.get("/validate", params={"token": ada.access})
            await world.refresh(ada.refresh)  # used before: it is logged
            await world.http.post("/api/auth/forgot", json={"tenant": acme, "email": ada.email})
            mailed = await world.mail_to(ada.email, "Choose a new password")
            await world.http.post("/api/auth/reset", json={"token": mailed, "password": NEW})
            await world.login(acme, ada.email, "a wrong password that was typed")
            service = await world.service_bearer(acme)
            secrets = {
                PASSWORD,
                NEW,
                "a wrong password that was typed",
                ada.access,
                ada.refresh,
                refreshed["access_token"],
                refreshed["refresh_token"],
                key.json()["client_secret"],
                mailed,
                service["authorization"].removeprefix("Bearer "),
                "a-secret-of-tenant-service",
            }
            stored = "".join(
                repr(world.rows(acme, f"select t::text from {table} t"))
                for table in (
                    "users",
                    "sessions",
                    "refresh_tokens",
                    "password_reset_tokens",
                    "api_keys",
                    "audit_entries",
                    "mail_intents",
                    "idempotency_keys",
                )
            )
            events = repr(world.events.outbox.added)

    written = b"".join(lines.lines).decode()
    # The test's own client is no part of the service.
    logged = "".join(one.getMessage() for one in caplog.records if one.name != "httpx2")
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert spans
    assert "used again" in written
    for name, text in {
        "lines": written,
        "log": logged,
        "spans": spans,
        "tables": stored,
        "events": events,
    }.items():
        for secret in secrets:
            assert secret not in text, name
