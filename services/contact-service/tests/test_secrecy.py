"""What is known of people stands in no log line, no span, and no answer to what was refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio
PERSON = {"first_name": "Wilhelmina", "email": "wilhelmina@example.com", "phone": "+1 555 0100"}


async def test_nothing_of_a_person_leaves_by_another_door(
    make_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caplog.set_level(logging.DEBUG)
    with recorded_logs() as lines:
        async with make_client(tracer_provider=provider) as client:
            made = await client.contact(**PERSON)
            twin = await client.post("/api/contacts", json={**PERSON, "phone": None})
            await client.contacts(q="wilhelmina", email=PERSON["email"])
            await client.get("/api/contacts/duplicates", params=PERSON)
            wrong = await client.post("/api/contacts", json={**PERSON, "email": "wilhelmina@@"})
            await client.upload(b"first_name,email\nWilhelmina,wilhelmina@example.com\n")
            broken = await client.upload(b"first_name\nWilhelmina" + b"x" * 20_000)
            await client.ask("DELETE", f"/api/contacts/{made['id']}")

    written = b"".join(lines.lines).decode()
    # The test's own client is no part of the service.
    logged = "".join(one.getMessage() for one in caplog.records if one.name != "httpx2")
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert spans
    refused = twin.text + wrong.text + broken.text
    for name, text in {"lines": written, "log": logged, "spans": spans, "no": refused}.items():
        assert "wilhelmina" not in text.lower(), name
        assert "555 0100" not in text, name
        assert "15550100" not in text, name
