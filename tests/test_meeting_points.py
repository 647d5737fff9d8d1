"""Where the libraries meet without importing each other: secrets, codes, request ids, records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest

from mtenant_config import Secret
from mtenant_config.testing import MemoryConfig
from mtenant_errors import InternalServerError, NotFound, wrap
from mtenant_errors.asgi import ErrorMiddleware
from mtenant_logger import LoggerConfig, configure, get_logger, log_context
from mtenant_logger.asgi import AccessLogMiddleware
from mtenant_logger.testing import Recorder, RecordingLogger, recorded_logs, reset

CANARY = "c4n4ry-5ecret"

Message = MutableMapping[str, Any]


@pytest.fixture
def logs() -> Iterator[Recorder]:
    with recorded_logs() as recorder:
        yield recorder


class ContactNotFound(NotFound):
    code, message = "CONTACT_NOT_FOUND", "contact {id} not found"


def test_a_secret_of_config_is_masked_by_logger_wherever_it_stands() -> None:
    secret = MemoryConfig({"api_token": CANARY}).get_secret("api_token")
    log = RecordingLogger()

    log.info("settings", token=secret, nested={"deep": [secret]}, text=f"{secret}")
    log.error("failed", err=ValueError(secret))

    assert CANARY not in b"".join(log.recorder.lines).decode()
    assert log.records[0]["nested"] == {"deep": ["***"]}


def test_a_secret_of_config_is_masked_by_errors_wherever_it_stands() -> None:
    secret = Secret(CANARY)
    err = ContactNotFound(id=secret, detail=f"{secret}", errors=[{"detail": secret}])

    shown = json.dumps(err.to_problem()) + err.to_problem_json() + str(err) + repr(err.params)

    assert CANARY not in shown
    assert "contact *** not found" in shown


def test_the_code_of_an_error_is_in_the_line_that_logs_it() -> None:
    log = RecordingLogger()
    try:
        raise wrap(ContactNotFound(id=7, internal="in tenant_acme"), "cannot close deal {d}", d=1)
    except NotFound as err:
        log.error("no luck", err=err)

    assert log.records[0]["error"]["code"] == "CONTACT_NOT_FOUND"
    assert [cause["code"] for cause in log.records[0]["error"]["chain"]] == ["CONTACT_NOT_FOUND"]


def test_the_internal_text_of_an_error_is_in_the_line_that_logs_it() -> None:
    log = RecordingLogger()

    log.error("no luck", err=ContactNotFound(id=7, internal="looked in tenant_acme"))

    assert "looked in tenant_acme" in log.records[0]["error"]["message"]


def _get(app: Any, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [] if request_id is None else [(b"x-request-id", request_id.encode())]
    scope = {"type": "http", "method": "GET", "path": "/contacts/7", "headers": fields}
    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


def test_one_request_id_is_in_the_answer_its_header_and_every_line(logs: Recorder) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        get_logger("app").info("looking")
        raise ContactNotFound(id=7)

    status, headers, body = _get(AccessLogMiddleware(ErrorMiddleware(app)), "r-17")

    assert status == 404
    assert json.loads(body)["request_id"] == headers["x-request-id"] == "r-17"
    assert {record["request_id"] for record in logs.records} == {"r-17"}
    assert logs.records[-1]["status"] == 404


def test_what_errors_logs_of_a_fault_becomes_one_structured_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise InternalServerError(internal="pool is empty") from KeyError("tenant_acme")

    try:
        configure(LoggerConfig(service="contact-service"))
        with log_context(tenant_id="acme"):
            status, _, body = _get(AccessLogMiddleware(ErrorMiddleware(app)), "r-18")
    finally:
        reset()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert status == 500
    assert b"pool is empty" not in body
    [fault] = [line for line in lines if line["logger"] == "mtenant_errors.asgi"]
    assert "pool is empty" in fault["message"]
    assert fault["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert fault["error"]["chain"][0]["type"] == "KeyError"
    assert (fault["request_id"], fault["tenant_id"]) == ("r-18", "acme")
