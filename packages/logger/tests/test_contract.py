"""What a logger promises; the real one and the recording one are held to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mtenant_logger import Logger, LoggerConfig, configure, get_logger, log_context, stats, testing
from mtenant_logger.testing import Recorder, RecordingLogger, assert_logged, recorded_logs

Strict = Callable[[bytes], dict[str, Any]]
LEVELS = ("debug", "info", "warning", "error", "critical")


class Subject:
    """A logger, its lines so far, and its counters."""

    def __init__(
        self, log: Logger, lines: Callable[[], list[bytes]], submitted: Callable[[], int]
    ) -> None:
        self.log, self.lines, self.submitted = log, lines, submitted


@pytest.fixture(params=["real", "recording", "recorded_logs"])
def subject(request: pytest.FixtureRequest, pipe: Any) -> Iterator[Subject]:
    if request.param == "real":
        testing.reset()
        configure(LoggerConfig("test", level="debug", fd=pipe.writer))
        yield Subject(
            get_logger("test"),
            lambda: pipe.read().splitlines(keepends=True),
            lambda: sum(stats().submitted.values()),
        )
        testing.reset()
    elif request.param == "recording":
        log = RecordingLogger("test")
        yield Subject(
            log, lambda: log.recorder.lines, lambda: sum(log.recorder.stats().submitted.values())
        )
    else:
        with recorded_logs() as logs:
            yield Subject(
                get_logger("test"), lambda: logs.lines, lambda: sum(stats().submitted.values())
            )


def test_each_level_is_one_counted_line(subject: Subject, strict: Strict) -> None:
    for level in LEVELS:
        getattr(subject.log, level)("m", 1, tag=2)

    records = [strict(line) for line in subject.lines()]
    assert [record["level"] for record in records] == list(LEVELS)
    assert all(
        (r["message"], r["args"], r["tag"], r["logger"]) == ("m", [1], 2, "test") for r in records
    )
    assert subject.submitted() == 5


def test_errors_are_described(subject: Subject, strict: Strict) -> None:
    try:
        raise ValueError("wrong")
    except ValueError as exc:
        subject.log.exception("m")
        subject.log.error("m", err=exc)  # it is what is tried
        subject.log.warning("m", err=exc)

    assert [strict(line)["error"]["message"] for line in subject.lines()] == ["wrong"] * 3


def test_fatal_ends_the_program_with_status_1(subject: Subject, strict: Strict) -> None:
    with pytest.raises(SystemExit) as ended:
        subject.log.fatal("m", err=ValueError("wrong"))

    (record,) = map(strict, subject.lines())
    assert ended.value.code == 1
    assert (record["level"], record["error"]["message"]) == ("critical", "wrong")


def test_bound_tags_are_in_every_line_and_binding_changes_nobody_else(
    subject: Subject, strict: Strict
) -> None:
    bound = subject.log.bind(a=1).bind(b=2, password="p")
    bound.info("m", c=3)
    subject.log.info("m")

    first, second = map(strict, subject.lines())
    assert (first["a"], first["b"], first["c"], first["password"]) == (1, 2, 3, "***")
    assert not {"a", "b"} & set(second)


def test_the_context_is_in_every_line(subject: Subject, strict: Strict) -> None:
    with log_context(request_id="r", tenant_id="acme", user_id="u"):
        subject.log.info("m")

    (record,) = map(strict, subject.lines())
    assert (record["request_id"], record["tenant_id"], record["user_id"]) == ("r", "acme", "u")


def test_enabled_tells_what_is_written(subject: Subject) -> None:
    assert all(subject.log.enabled(level) for level in LEVELS)


def test_a_recording_logger_keeps_only_what_its_level_lets_pass() -> None:
    log = RecordingLogger(level="error")
    log.warning("m")
    log.error("m")

    assert len(log.records) == 1


def test_assert_logged_returns_the_record_or_lists_what_there_was() -> None:
    log = RecordingLogger()
    with pytest.raises(AssertionError, match="logged was:\n  nothing"):
        assert_logged(log, "sold")
    log.info("sold", pieces=3)

    assert assert_logged(log, "sold", level="info", pieces=3)["pieces"] == 3
    for wrong in ({"level": "error"}, {"pieces": 4}, {"absent": None}):
        with pytest.raises(AssertionError, match="'pieces': 3"):
            assert_logged(log, "sold", **wrong)


def test_the_fixture_records_what_module_level_loggers_say(recorded_logs: Recorder) -> None:
    get_logger("anywhere").info("m")

    assert_logged(recorded_logs, "m", logger="anywhere")
    recorded_logs.clear()
    assert recorded_logs.records == []
    assert recorded_logs.flush()


@pytest.mark.usefixtures("fresh")
def test_recording_writes_nothing_and_ends(pipe: Any) -> None:
    configure(LoggerConfig("test", fd=pipe.writer))
    with recorded_logs():
        get_logger("x").info("kept")
    get_logger("x").info("written")

    assert [record["message"] for record in pipe.records()] == ["written"]
