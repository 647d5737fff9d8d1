from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mtenant_chassis import Router, public
from mtenant_chassis.edge import _fields
from mtenant_chassis.testing import Issuer, running
from mtenant_errors import ServiceUnavailable
from mtenant_logger.testing import Recorder, recorded_logs

pytestmark = pytest.mark.anyio
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def logs() -> Iterator[Recorder]:
    with recorded_logs() as recorder:
        yield recorder


def access(logs: Recorder) -> list[dict[str, Any]]:
    return [one for one in logs.records if one["logger"] == "mtenant_logger.access"]


async def test_a_request_has_an_id_that_the_answer_and_the_line_share(
    notes_app: Any, logs: Recorder
) -> None:
    async with running(notes_app()) as client:
        given = await client.get("/api/notes/open", headers={"x-request-id": "abc-123"})
        made = await client.get("/api/notes/open")
        hostile = await client.get("/api/notes/open", headers={"x-request-id": "a b<script>"})

    assert given.headers["x-request-id"] == "abc-123"
    assert re.fullmatch(r"[0-9a-f-]{32,36}", made.headers["x-request-id"])
    assert "script" not in hostile.headers["x-request-id"]
    assert [one["request_id"] for one in access(logs)] == [
        answer.headers["x-request-id"] for answer in (given, made, hostile)
    ]


async def test_the_access_line_tells_who_and_how_and_nothing_secret(
    notes_app: Any, issuer: Issuer, acme: str, logs: Recorder
) -> None:
    async with running(notes_app()) as client:
        token = issuer.token(acme, "member")
        await client.get(
            "/api/notes?cursor=s3cr3t-in-the-query", headers={"authorization": f"Bearer {token}"}
        )
        await client.get("/api/notes", headers={"authorization": f"Bearer {token[:-3]}xyz"})

    first, second = access(logs)
    assert (first["method"], first["path"], first["status"]) == ("GET", "/api/notes", 400)
    assert (first["tenant_id"], first["user_id"]) == (acme, "u1")
    assert first["service"] == "note-service"
    assert second["status"] == 401
    assert "tenant_id" not in second  # a token that is not good says nothing
    told = json.dumps(logs.records)
    assert "s3cr3t-in-the-query" not in told
    assert token not in told
    assert token.split(".")[1] not in told


async def test_two_apps_in_one_process_are_named_apart_in_the_log(
    notes_app: Any, logs: Recorder
) -> None:
    async with running(notes_app("note-service")) as one, running(notes_app("pen-service")) as two:
        await asyncio.gather(one.get("/api/notes/open"), two.get("/api/notes/open"))

    assert {line["service"] for line in access(logs)} == {"note-service", "pen-service"}


async def test_a_trace_goes_on_without_an_sdk(notes_app: Any, logs: Recorder) -> None:
    async with running(notes_app()) as client:
        await client.get("/api/notes/open", headers={"traceparent": TRACEPARENT})
        await client.get("/api/notes/open")
        await client.get("/api/notes/open", headers={"traceparent": "00-zz-zz-zz"})

    first, second, third = (one["trace_id"] for one in access(logs))
    assert first == TRACE
    assert re.fullmatch("[0-9a-f]{32}", second)
    assert re.fullmatch("[0-9a-f]{32}", third)
    assert len({first, second, third}) == 3


async def test_a_request_is_a_span_named_by_its_route(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(notes_app(tracer_provider=provider)) as client:
        member = issuer.bearer(acme, "member")
        note = "/api/notes/00000000-0000-4000-8000-000000000000"
        await client.get(note, headers={**member, "traceparent": TRACEPARENT})
        await client.post("/api/notes", headers=member, json={"title": "broken"})
        await client.request("BREW", "/api/notes/open")
        await client.get("/nowhere?token=s3cr3t")

    found = exporter.get_finished_spans()
    assert [span.name for span in found] == [
        "GET /api/notes/{note_id}",
        "POST /api/notes",
        "_OTHER /api/notes/open",
        "GET unmatched",
    ]
    assert all(span.kind is SpanKind.SERVER for span in found)
    assert found[0].context is not None
    assert f"{found[0].context.trace_id:032x}" == TRACE
    assert [span.status.status_code for span in found[:2]] == [StatusCode.UNSET, StatusCode.ERROR]
    told = "".join(span.to_json() for span in found)
    assert acme not in told
    assert "s3cr3t" not in told
    assert "CANARY" not in told


async def test_a_request_that_was_cancelled_ends_its_span_and_its_count(notes_app: Any) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    inside = asyncio.Event()
    app = notes_app(tracer_provider=provider)

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await asyncio.Event().wait()

    app.mount("/hangs", hangs)
    async with running(app) as client, asyncio.timeout(30):
        request = asyncio.create_task(client.get("/hangs/x"))
        await inside.wait()
        assert app.state.chassis.metrics.running == 1
        request.cancel()
        await asyncio.wait({request})

    assert app.state.chassis.metrics.running == 0
    assert len(exporter.get_finished_spans()) == 1


async def test_numbers_are_told_by_route_and_never_by_path_or_tenant(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app()) as client:
        member = issuer.bearer(acme, "member")
        for number in range(5):
            await client.get(
                f"/api/notes/00000000-0000-4000-8000-00000000000{number}", headers=member
            )
            await client.get(f"/nowhere/{number}")
            await client.request(f"M{number}", "/api/notes/open")
        told = (await client.get("/metrics")).text

    line = 'http_requests_total{method="GET",route="/api/notes/{note_id}",status="404"} 5.0'
    assert line in told
    assert 'http_requests_total{method="GET",route="unmatched",status="404"} 5.0' in told
    assert 'method="_OTHER",route="/api/notes/open",status="405"} 5.0' in told
    assert "http_requests_in_flight 1.0" in told
    assert acme not in told
    assert re.search(r"^cache_hits_total 0\.0$", told, re.MULTILINE)


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_no_header_stops_a_request(headers: list[tuple[bytes, bytes]]) -> None:
    fields = _fields([*headers, (b"traceparent", b"\xff\x00")])

    assert fields["traceparent"] == "\xff\x00"
    assert fields.keys() <= {"traceparent", "tracestate"}


async def test_a_log_line_of_the_library_has_the_request(
    notes_app: Any, issuer: Issuer, acme: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(notes_app()) as client:
        answer = await client.post(
            "/api/notes", headers=issuer.bearer(acme, "member"), json={"title": "broken"}
        )

    assert answer.status_code == 500
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert getattr(record, "request_id") == answer.headers["x-request-id"]  # noqa: B009
    assert isinstance(answer, httpx.Response)


async def test_every_503_says_when_to_come_again(notes_app: Any) -> None:
    class Plain(ServiceUnavailable):
        code = "PLAIN"

    router = Router(prefix="/api/away")

    @router.get("/plain", dependencies=[public()])
    async def plain() -> None:
        raise Plain

    @router.get("/patient", dependencies=[public()])
    async def patient() -> None:
        raise Plain(retry_after=30)

    async with running(notes_app(more=[router])) as client:
        found = [(await client.get(f"/api/away/{name}")) for name in ("plain", "patient")]

    assert [one.headers.get_list("retry-after") for one in found] == [["1"], ["30"]]
