"""What people write about deals, and what opens other services, stands in no log line and no trace."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio


async def test_notes_names_and_the_clients_secret_leave_by_no_other_door(
    make_world: Any, acme: str, caplog: pytest.LogCaptureFixture
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caplog.set_level(logging.DEBUG)
    name, note = "The secret merger", "they have no money left"
    with recorded_logs() as lines:
        async with make_world(tracer_provider=provider) as world:
            contact = world.neighbours.contact(acme)
            made = await world.deal(acme, name=name, contact_ids=[contact])
            await world.put(acme, made, stage="closed_lost", lost_reason="price", lost_note=note)
            bad = await world.put(acme, made, stage="closed_won", lost_note=note)
            worse = await world.put(acme, made, lost_note=note, amount_minor=name)
            gone = await world.put(acme, made, owner_id=str(uuid4()), name=name)
            secrets = {name, note, "s3cr3t", world.bearer(acme)["authorization"]}
            events = repr(world.told(acme))
            answers = bad.text + worse.text + gone.text

    written = b"".join(lines.lines).decode()
    logged = "".join(one.getMessage() for one in caplog.records if one.name != "httpx2")
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert spans
    assert '"status": 422' in bad.text
    for where, text in {
        "lines": written,
        "log": logged,
        "spans": spans,
        "answers": answers,
    }.items():
        for secret in secrets:
            assert secret not in text, where
    assert note not in events
