"""A secret stays one, most of all when it is what is wrong."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import Config, ConfigError, Env, Range, Secret, from_env
from mtenant_config.testing import MemoryConfig
from mtenant_errors import AppError, InternalServerError

CANARY = "canary-9f3b"


class Pin(Enum):
    ONE = "one"


@dataclass(frozen=True)
class Wrong:
    """Every field is secret, by its type or by its name, and none accepts the canary."""

    api_token: int
    jwt_key: Annotated[float, Range(0, 1)]
    pin: Pin
    backup_passwords: list[int]
    credentials: Annotated[int | None, Env("SOME_CREDENTIALS")] = None


WRONG = {"api_token", "jwt_key", "pin", "backup_passwords"}


def everything_about(error: BaseException) -> str:
    """Return all that a log, a debugger or an error tracker could write about an error."""
    parts = ["".join(traceback.format_exception(error)), repr(error), str(error), repr(error.args)]
    seen: list[BaseException] = [error]
    for exc in seen:
        seen.extend(e for e in (exc.__cause__, exc.__context__) if e and e not in seen)
        parts += [repr(exc), str(exc), repr(vars(exc))]
        for frame, _ in traceback.walk_tb(exc.__traceback__):
            if (
                "mtenant_config" in frame.f_code.co_filename
                and "tests" not in frame.f_code.co_filename
            ):
                # What a test hands to the fake is the test's own.
                local = {k: v for k, v in frame.f_locals.items() if k != "values"}
                parts.append(repr(local))
    if isinstance(error, ConfigError):
        parts += [repr(error.problems), json.dumps(error.to_problem()), str(error.internal)]
        parts.append(repr(pickle.dumps(error)))
    return "\n".join(parts)


def sources(tmp_path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    variables = {f"CRM_{name.upper()}": CANARY for name in WRONG} | {"SOME_CREDENTIALS": CANARY}
    yield "variables", lambda: Config.load("CRM", environ=variables).bind(Wrong)
    yield "from_env", lambda: from_env(Wrong, prefix="CRM", environ=variables)
    yield "memory", lambda: MemoryConfig(dict.fromkeys(WRONG, CANARY)).bind(Wrong)
    yield "typed secrets", lambda: MemoryConfig(dict.fromkeys(WRONG, Secret(CANARY))).bind(Wrong)
    toml = tmp_path / "s.toml"
    toml.write_text("\n".join(f"{name} = '{CANARY}'" for name in WRONG))
    yield "toml", lambda: Config.load("CRM", files=[toml], environ={}).bind(Wrong)
    dotenv = tmp_path / ".env"
    dotenv.write_text("\n".join(f"{name}={text}" for name, text in variables.items()))
    yield "dotenv", lambda: Config.load("CRM", dotenv=dotenv, environ={}).bind(Wrong)
    directory = tmp_path / "secrets"
    directory.mkdir()
    for name in WRONG:
        (directory / name).write_text(CANARY)
    yield "secrets", lambda: Config.load("CRM", secrets_dir=directory, environ={}).bind(Wrong)
    references = {f"{name}_FILE": str(directory / "pin") for name in variables}
    yield "x_file", lambda: from_env(Wrong, prefix="CRM", environ=references)


def test_no_error_about_a_secret_holds_it(tmp_path: Path) -> None:
    for name, call in sources(tmp_path):
        with pytest.raises(ConfigError) as caught:
            call()
        assert len(caught.value.problems) >= len(WRONG), name
        assert CANARY not in everything_about(caught.value), name
        assert str(len(CANARY)) not in str(caught.value).replace(str(tmp_path), ""), name
        assert all(problem.suggestion is None for problem in caught.value.problems), name


def test_no_error_of_a_load_holds_what_it_was_given() -> None:
    given = {"token": CANARY, "x": {"y": CANARY}, "x.y": CANARY}
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", files=["/no/such/file"], overrides=given, environ={"CRM_A": CANARY})
    assert CANARY not in everything_about(caught.value)


READS = ["get_int", "get_bool", "get_float", "get_duration", "get_bytes"]


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("key", ["db.password", "api_token", "plain"])
def test_no_read_of_a_secret_shows_it(tmp_path: Path, method: str, key: str) -> None:
    # "plain" is secret because it was read as one, or lies in a secret file.
    (tmp_path / key).write_text(CANARY)
    by_name = Config.load("CRM", environ={f"CRM_{key.upper().replace('.', '__')}": CANARY})
    by_name.get_secret(key)
    for config in (by_name, Config.load("CRM", secrets_dir=tmp_path, environ={})):
        with pytest.raises(ConfigError) as caught:
            getattr(config, method)(key)
        assert CANARY not in everything_about(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None


@given(text=st.text(min_size=12))
def test_the_report_of_a_refused_secret_is_the_same_for_every_text(text: str) -> None:
    def report(secret: str) -> str:
        config = MemoryConfig({"api_token": secret})
        try:
            config.get_int("api_token")
        except ConfigError as error:
            return str(error)
        return "accepted"

    assert report(text) in (report("x"), "accepted")


@dataclass(frozen=True)
class Good:
    """Accepts the canary; not one of the names gives it away."""

    opaque: Secret
    several: list[Secret]
    database: Annotated[str, Env("DATABASE_URL")]
    text: str = ""


def test_explain_and_report_mask_what_a_bound_class_declares_secret(tmp_path: Path) -> None:
    low = tmp_path / "s.toml"
    low.write_text(f"opaque = '{CANARY}'\nseveral = ['{CANARY}']\n")
    environ = {
        "CRM_OPAQUE": f"{CANARY}-2",
        "DATABASE_URL": f"postgresql://crm:{CANARY}@db/crm",
        "CRM_DB_PASSWORD": CANARY,
    }
    config = Config.load("CRM", files=[low], environ=environ)
    config.bind(Good)
    shown = json.dumps(config.report()) + repr(config) + repr(config.source) + str(vars(Config))
    for key in ("opaque", "several", "database", "db_password"):
        explained = config.explain(key)
        assert explained.origin
        shown += str(explained) + repr(explained)
    assert CANARY not in shown
    assert "postgresql://crm:***@db/crm" in shown


def test_a_secret_in_the_words_of_a_cross_check_is_masked() -> None:
    @dataclass(frozen=True)
    class Checked:
        opaque: Secret

        def __post_init__(self) -> None:
            raise ValueError(f"{self.opaque.reveal()} is too short")

    with pytest.raises(ConfigError) as caught:
        MemoryConfig({"opaque": CANARY}).bind(Checked)
    assert "*** is too short" in str(caught.value)
    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://crm:hunter2x", "postgresql://crm:hunter2x/y@db", "a://b:hunter2x%3f@[c"]
)
def test_a_part_of_a_secret_that_a_check_quotes_is_masked(url: str) -> None:
    @dataclass(frozen=True)
    class Checked:
        url: Secret

        def __post_init__(self) -> None:
            parts = urlsplit(self.url.reveal())
            raise ValueError(f"no port for {parts.password}: {parts.port}")

    with pytest.raises(ConfigError) as caught:
        MemoryConfig({"url": url}).bind(Checked)
    assert "hunter2x" not in everything_about(caught.value)


@pytest.mark.parametrize("value", ["a'b\"c", "back\\slash", "line\nbreak", "tab\tx"])
def test_a_secret_that_a_check_quotes_with_escapes_is_masked(value: str) -> None:
    @dataclass(frozen=True)
    class Checked:
        password: str

        def __post_init__(self) -> None:
            raise ValueError(f"bad password: {self.password!r}")

    with pytest.raises(ConfigError) as caught:
        MemoryConfig({"password": value}).bind(Checked)
    assert repr(value)[1:-1] not in str(caught.value)
    assert "bad ***: '***'" in str(caught.value) or "bad password: '***'" in str(caught.value)


def test_secrets_inside_lists_and_tables_are_masked_by_their_names() -> None:
    config = MemoryConfig(
        {"servers": [{"host": "x", "password": CANARY, "urls": [f"a://b:{CANARY}@c"]}]}
    )
    shown = json.dumps(config.report())
    assert CANARY not in shown
    assert "host" in shown
    with pytest.raises(ConfigError) as caught:
        config.get_int("servers")
    assert CANARY not in str(caught.value)


def test_a_config_is_not_pickled_with_its_secrets() -> None:
    for config in (MemoryConfig({"x": CANARY}), Config.load("CRM", environ={"CRM_X": CANARY})):
        with pytest.raises(TypeError, match="load it in each process"):
            pickle.dumps(config)


def test_settings_log_without_their_secrets(caplog: pytest.LogCaptureFixture) -> None:
    bound = MemoryConfig({"opaque": CANARY, "several": CANARY, "database": "x"}).bind(Good)
    with caplog.at_level(logging.INFO):
        logging.getLogger("crm").info("starting with %s", bound)
    assert CANARY not in caplog.text
    assert bound.opaque.reveal() == CANARY


# --- the error itself ---------------------------------------------------------------------------


def config_error() -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        from_env(Wrong, environ={"PIN": "x"})
    return caught.value


def test_a_config_error_is_an_internal_error_that_tells_a_caller_nothing() -> None:
    error = config_error()
    assert isinstance(error, InternalServerError)
    assert isinstance(error, AppError)
    response = error.to_http_response()
    assert (response.status_code, response.error_code) == (500, "CONFIG_INVALID")
    body = json.dumps(error.to_problem())
    assert "api_token" not in body
    assert "API_TOKEN" not in body


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)  # fmt: skip
def test_a_config_error_is_copied_and_pickled_whole(copied: Callable[[Any], Any]) -> None:
    error = config_error()
    again = copied(error)
    assert type(again) is ConfigError
    assert (again.problems, str(again), again.code) == (error.problems, str(error), error.code)


def test_what_is_too_long_or_too_deep_is_not_shown(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    levels = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    bomb.write_text(f"a0: &a0 [x]\n{levels}long: '{'a' * 3000}'\n")
    report = {
        line["key"]: line["value"] for line in Config.load("CRM", files=[bomb], environ={}).report()
    }
    assert report["long"] == "(a long text)"
    assert "..." in report["a39"]


def test_a_name_with_a_line_break_starts_no_line_of_a_report() -> None:
    environ = {"CRM_API\nTOKEN": "x", "CRM_PIN\n": "y", "CRM_JWT_KEY": "0"}
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", environ=environ).bind(Wrong)
    assert "API\nTOKEN" not in str(caught.value)
    assert "PIN\n" not in str(caught.value).replace("set CRM_PIN\n", "")
