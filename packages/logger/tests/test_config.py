"""Configuring is for applications, once; importing does nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import loguru
import pytest

from mtenant_logger import LoggerConfig, configure, flush, get_logger, stats

pytestmark = pytest.mark.usefixtures("fresh")


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own program
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_the_environment_sets_level_and_format() -> None:
    config = LoggerConfig.from_env("shop", environ={"LOG_LEVEL": " Warn ", "LOG_FORMAT": "CONSOLE"})

    assert (config.service, config.level, config.format) == ("shop", "warn", "console")
    assert config.problems == ()
    assert LoggerConfig.from_env(environ={}) == LoggerConfig("unknown_service")
    assert LoggerConfig.from_env(environ={"LOG_LEVEL": ""}).level == "info"


def test_a_wrong_level_is_one_warning_line_and_info(pipe: Any) -> None:
    config = LoggerConfig.from_env("shop", environ={"LOG_LEVEL": "verbose"})
    configure(LoggerConfig("shop", fd=pipe.writer, problems=config.problems))
    get_logger("x").info("written")
    get_logger("x").debug("not written")

    warning, line = pipe.records()
    assert config.level == "info"
    assert warning["level"] == "warning"
    assert warning["message"] == (
        "LOG_LEVEL is 'verbose', not one of debug, info, warning, error, critical: info is used"
    )
    assert line["message"] == "written"


def test_a_wrong_format_is_one_warning_line_and_json() -> None:
    config = LoggerConfig.from_env(environ={"LOG_FORMAT": "xml"})

    assert config.format == "json"
    assert config.problems == ("LOG_FORMAT is 'xml', not json or console: json is used",)


def test_a_wrong_value_in_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="no log level 'loud': use one of debug"):
        LoggerConfig("shop", level="loud")
    for number in (20, None):  # those of the standard logging are numbers
        with pytest.raises(ValueError, match=f"no log level {number}: use one of debug"):
            LoggerConfig("shop", level=number)  # type: ignore[arg-type]  # the mistake that is tried
        with pytest.raises(ValueError, match=f"no log level {number}"):
            get_logger("shop").enabled(number)  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="no log format 'xml'"):
        LoggerConfig("shop", format="xml")  # type: ignore[arg-type]  # the mistake that is tried


def test_a_second_configuration_is_an_error_and_the_same_again_is_not(pipe: Any) -> None:
    configure(LoggerConfig("shop", fd=pipe.writer))
    configure(LoggerConfig("shop", fd=pipe.writer))
    with pytest.raises(RuntimeError, match=r"configured already.*log_context\(service"):
        configure(LoggerConfig("other"))
    get_logger("x").info("m")

    assert len(pipe.records()) == 1


def test_a_level_is_enabled_from_the_threshold_on(pipe: Any) -> None:
    log = get_logger("x")
    configure(LoggerConfig("shop", level="warning", fd=pipe.writer))
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)(name)

    assert [log.enabled(name) for name in ("debug", "info", "warning", "error")] == [
        False,
        False,
        True,
        True,
    ]
    assert [record["level"] for record in pipe.records()] == ["warning", "error", "critical"]
    with pytest.raises(ValueError, match="no log level"):
        log.enabled("loud")


def test_flush_and_stats_are_those_of_the_process(pipe: Any) -> None:
    configure(LoggerConfig("shop", fd=pipe.writer))
    get_logger("x").info("m")

    assert flush()
    assert stats().written["info"] == stats().submitted["info"] == 1


def test_reset_gives_everybody_their_handlers_back(pipe: Any) -> None:
    from mtenant_logger import testing  # noqa: PLC0415  # next to the one use

    handler = logging.StreamHandler()
    library = logging.getLogger("with.handler")
    library.addHandler(handler)
    quiet = logging.getLogger("with.null")
    quiet.addHandler(logging.NullHandler())
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    sinks = set(loguru.logger._core.handlers)  # type: ignore[attr-defined]  # there is no other way to look

    configure(LoggerConfig("shop", fd=pipe.writer))
    assert library.handlers == []
    assert len(quiet.handlers) == 1
    testing.reset()

    assert (list(root.handlers), root.level) == before
    assert library.handlers == [handler]
    assert set(loguru.logger._core.handlers) == sinks - {0}  # type: ignore[attr-defined]  # as above
    library.removeHandler(handler)


def test_before_configure_warnings_go_to_standard_error_and_the_rest_nowhere() -> None:
    done = run(
        "from mtenant_logger import get_logger\n"
        "log = get_logger('lib'); log.info('quiet'); log.warning('loud', n=1)"
    )

    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert '"level":"warning","message":"loud","service":"unknown_service","n":1' in done.stderr


def test_importing_configures_nothing_and_loads_no_loguru_and_no_opentelemetry() -> None:
    run(
        "import sys, logging, os, threading\n"
        "files = set(os.listdir('/proc/self/fd'))\n"
        "import mtenant_logger, mtenant_logger.asgi\n"
        "log = mtenant_logger.get_logger('x'); log.info('m'); log.bind(a=1)\n"
        "assert not logging.getLogger().handlers\n"
        "assert set(os.listdir('/proc/self/fd')) == files\n"
        "assert threading.active_count() == 1\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'loguru', 'opentelemetry', 'asyncio.subprocess', 'structlog', 'pytest'}, loaded"
    )


def test_without_orjson_the_standard_encoder_is_used() -> None:
    done = run(
        "import sys; sys.modules['orjson'] = None\n"
        "from mtenant_logger import LoggerConfig, configure, get_logger\n"
        "configure(LoggerConfig('svc'))\n"
        "get_logger('x').info('ü\\u2028', n=1e16)"
    )

    assert '"message":"ü\\u2028","service":"svc","n":1e+16,"logger":"x"}' in done.stdout
