"""loguru and the standard logging: everything in one stream, each line once, in one schema."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import loguru
import pytest
import uvicorn

from mtenant_logger import LoggerConfig, configure, get_logger, log_context, register_secret, stats
from mtenant_logger.logger import PROCESS
from mtenant_logger.router import Router

Strict = Callable[[bytes], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("fresh")
log = get_logger("shop.orders")


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def sink() -> Iterator[list[Any]]:
    """Give what one more sink of loguru's gets."""
    messages: list[Any] = []
    number = loguru.logger.add(
        messages.append, format="{name}:{function} {message} {extra}", diagnose=True
    )
    yield messages
    loguru.logger.remove(number)


def start(pipe: Any, **settings: Any) -> None:
    configure(LoggerConfig("shop", fd=pipe.writer, **settings))


def without_time(line: bytes) -> bytes:
    record = json.loads(line)
    return line.replace(record["timestamp"].encode(), b"")


CALLS: list[Callable[[], object]] = [
    lambda: log.info("plain", path="/x", status=200),
    lambda: log.bind(region="eu").warning("{} <red>", 1, token="t", level=3, n=1e16),
    lambda: log.error("bad \ud800 \u2028", err=ValueError("no"), deep={"a": [1, {2}]}),
]


@pytest.mark.parametrize("call", CALLS, ids=["plain", "bound", "error"])
def test_a_line_has_the_same_bytes_whether_or_not_another_sink_listens(
    pipe: Any, call: Callable[[], object]
) -> None:
    start(pipe)
    with log_context(request_id="r", tenant_id="acme", user_id="u"):
        call()
        call()
        alone = pipe.read().splitlines(keepends=True)[1]
        sink: list[Any] = []
        number = loguru.logger.add(sink.append)
        call()
        routed = pipe.read()
        loguru.logger.remove(number)
        call()
        alone_again = pipe.read()

    assert len(sink) == 1
    assert without_time(alone) == without_time(routed) == without_time(alone_again)


def test_another_sink_gets_every_record_redacted_with_its_name_and_place(
    pipe: Any, sink: list[Any]
) -> None:
    register_secret("hunter2!")
    start(pipe)
    local = "a local variable"
    try:
        raise ValueError(f"wrong: hunter2! {len(local)}")
    except ValueError:
        log.exception("failed with hunter2!", password="p4ss", order=7)

    (message,) = sink
    record = message.record
    assert record["name"] == "shop.orders"
    assert record["function"].endswith(
        "test_another_sink_gets_every_record_redacted_with_its_name_and_place"
    )
    assert record["level"].name == "ERROR"
    assert record["extra"]["order"] == 7
    assert record["exception"] is None
    assert "ValueError: wrong: ***" in message
    for leak in ("hunter2!", "p4ss", local):
        assert leak not in str(message)
        assert leak not in repr(record)
    assert len(pipe.records()) == 1


def test_a_file_sink_with_rotation_gets_every_record(pipe: Any, tmp_path: Path) -> None:
    start(pipe)
    number = loguru.logger.add(tmp_path / "log", rotation="1 KB", format="{message}")
    for n in range(100):
        log.info("x" * 50, n=n)
    loguru.logger.remove(number)

    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert len(list(tmp_path.iterdir())) > 3
    assert lines == ["x" * 50] * 100
    assert len(pipe.records()) == 100


def test_records_that_other_code_makes_through_loguru_are_lines_too(pipe: Any) -> None:
    start(pipe)
    with log_context(request_id="r"):
        loguru.logger.bind(path="/x", token="t", obj=Broken()).success("done {}", 1)
    try:
        raise LookupError("gone")
    except LookupError:
        loguru.logger.exception("failed")
    loguru.logger.debug("too low")

    first, second = pipe.records()
    assert (first["level"], first["message"], first["request_id"]) == ("info", "done 1", "r")
    assert (first["token"], first["obj"]) == ("***", "<unprintable Broken>")
    assert first["logger"] == __name__
    assert second["error"]["type"] == "LookupError"
    assert "test_router.py" in second["error"]["stack"][0]


def test_loguru_never_renders_what_only_we_write(pipe: Any) -> None:
    class Watched(Exception):
        rendered = 0

        def __str__(self) -> str:
            Watched.rendered += 1
            return "x"

    start(pipe)
    loguru.logger.opt(exception=Watched()).error("m")

    assert Watched.rendered == 1  # by us, for the line
    assert len(pipe.records()) == 1


def test_the_request_id_of_a_record_is_the_lines_where_no_context_gives_another(pipe: Any) -> None:
    start(pipe)
    lib = logging.getLogger("lib")
    lib.warning("m", extra={"request_id": "r-1"})
    with log_context(request_id="r-1"):
        lib.warning("m", extra={"request_id": "r-1"})
    with log_context(request_id="r-2"):
        lib.warning("m", extra={"request_id": "r-1", "tenant_id": "acme"})
    lib.warning("m", extra={"request_id": Broken()})

    names = ("request_id", "tag_request_id", "tenant_id")
    assert [tuple(record.get(name) for name in names) for record in pipe.records()] == [
        ("r-1", None, None),
        ("r-1", None, None),
        ("r-2", "r-1", None),
        (None, "<unprintable Broken>", None),
    ]


def test_the_standard_logging_is_captured_once_with_name_level_and_extra(pipe: Any) -> None:
    child = logging.getLogger("lib.child")
    own = io.StringIO()
    child.addHandler(logging.StreamHandler(own))
    child.propagate = False
    start(pipe)
    with log_context(tenant_id="acme"):
        child.warning("hello %s", "you", extra={"order": 7, "password": "p"})
    child.debug("too low")
    child.log(25, "between")
    child.critical("bad %d arguments", "no number")
    child.critical("bad %s", Broken())
    try:
        raise OSError("disk")
    except OSError:
        child.exception("failed")
    child.error("no exception", exc_info=True)

    records = pipe.records()
    assert own.getvalue() == ""
    assert [record["level"] for record in records] == [
        "warning", "info", "critical", "critical", "error", "error",
    ]  # fmt: skip
    assert all(record["logger"] == "lib.child" for record in records)
    assert (records[0]["message"], records[0]["order"], records[0]["password"]) == (
        "hello you",
        7,
        "***",
    )
    assert records[0]["tenant_id"] == "acme"
    assert (records[2]["message"], records[2]["args"]) == ("bad %d arguments", ["no number"])
    assert records[3]["args"] == ["<unprintable Broken>"]
    assert records[4]["error"]["type"] == "OSError"
    assert "error" not in records[5]


def test_uvicorns_own_handlers_are_replaced(pipe: Any) -> None:
    uvicorn.Config(app=lambda: None)  # sets up its logging, as the server does
    start(pipe)
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "1.2.3.4", "GET", "/", "1.1", 200
    )

    first, second = pipe.records()
    assert (first["logger"], first["message"]) == ("uvicorn.error", "started")
    assert (second["logger"], second["message"]) == (
        "uvicorn.access",
        '1.2.3.4 - "GET / HTTP/1.1" 200',
    )
    assert "color_message" not in first


def test_a_sink_that_hands_records_to_the_standard_logging_makes_no_loop(pipe: Any) -> None:
    start(pipe)
    number = loguru.logger.add(
        lambda m: logging.getLogger(m.record["name"]).error(m.record["message"])
    )
    log.info("once")
    loguru.logger.remove(number)

    assert [record["message"] for record in pipe.records()] == ["once"]


def test_a_sink_that_raises_fails_nobody(pipe: Any) -> None:
    def raising(message: object) -> None:
        raise RuntimeError("sink")

    start(pipe)
    number = loguru.logger.add(raising, catch=False)
    log.info("once")
    loguru.logger.remove(number)

    assert [record["message"] for record in pipe.records()] == ["once"]


def test_our_lines_are_written_even_if_the_program_removes_all_of_logurus_sinks(pipe: Any) -> None:
    start(pipe)
    loguru.logger.remove()
    log.info("still here")

    assert len(pipe.records()) == 1


def test_with_another_loguru_every_record_takes_the_way_through_it(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(pipe)
    monkeypatch.setattr("mtenant_logger.router.loguru_logger", object())
    router = Router(PROCESS, pipe.writer, console=False)

    assert router.core.handlers is not router.core.handlers
    assert router.is_quiet() is None


def test_the_caller_is_the_line_of_the_program(pipe: Any) -> None:
    start(pipe, caller=True)
    log.info("own")
    logging.getLogger("lib").warning("stdlib")
    loguru.logger.info("loguru")

    records = pipe.records()
    assert len(records) == 3
    assert all("test_router.py:" in record["caller"] for record in records)
    assert all(
        "test_the_caller_is_the_line_of_the_program" in record["caller"] for record in records
    )


def test_the_console_shows_loguru_s_format_without_secrets_and_locals(pipe: Any) -> None:
    register_secret("hunter2!")
    start(pipe, format="console")
    local = "a local variable"
    with log_context(request_id="r-1", tenant_id="acme"):
        log.info("{braces} <red>markup", path="/x", password="p4ss")
    try:
        raise ValueError(f"wrong: hunter2! {len(local)}")
    except ValueError as exc:
        log.error("failed", err=exc)  # it is what is tried
        loguru.logger.bind(token="p4ss").exception("failed with hunter2!")
    logging.getLogger("lib").warning("from lib")
    log.debug("too low")

    text = pipe.read().decode()
    first = text.splitlines()[0]
    assert " | INFO     | shop.orders:" in first
    assert first.endswith(
        '- {braces} <red>markup request_id="r-1" tenant_id="acme" path="/x" password="***"'
    )
    assert text.count("ValueError: wrong: ***") == 2
    assert "WARNING  | lib:" in text
    for leak in ("hunter2!", "p4ss", local, "too low", "\x1b"):
        assert leak not in text
    assert sum(stats().written.values()) == 4


def test_a_console_whose_sink_is_gone_counts_drops(pipe: Any) -> None:
    start(pipe, format="console")
    loguru.logger.remove()
    log.info("m")

    assert pipe.read() == b""
    assert stats().dropped["info"] == 1


def test_the_console_tells_what_was_dropped(pipe: Any) -> None:
    start(pipe, format="console")
    PROCESS.output.lose(20)
    log.info("m")
    assert PROCESS.output.flush(10)

    assert b"mtenant_logger - log records dropped info=1\n" in pipe.read()


def test_a_terminal_gets_colours_and_a_pipe_gets_none() -> None:
    program = """
import os, pty
from mtenant_logger import LoggerConfig, configure, get_logger
ours, theirs = pty.openpty()
configure(LoggerConfig("svc", format="console", fd=theirs))
get_logger("x").info("m")
assert b"\\x1b[" in os.read(ours, 1000)
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, env={"TERM": "xterm"}
    )  # our own program


def test_a_json_line_of_drops_has_the_schema(pipe: Any) -> None:
    start(pipe)
    PROCESS.output.lose(20)
    with log_context(request_id="of nobody"):
        log.warning("m")
        assert PROCESS.output.flush(10)

    notice = pipe.records()[1]
    assert (notice["level"], notice["message"]) == ("warning", "log records dropped")
    assert notice["dropped"] == {"info": 1}
    assert notice["logger"] == "mtenant_logger"
    assert "request_id" not in notice
