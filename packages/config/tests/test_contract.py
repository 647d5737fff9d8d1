"""What every reader promises; `Config` from each kind of layer, and the fake."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import ByteSize, Config, ConfigError, ConfigReader, Range, Secret
from mtenant_config.names import variable
from mtenant_config.testing import MemoryConfig

Values = Mapping[str, str]
Make = Callable[[Values], ConfigReader]


def from_variables(values: Values) -> ConfigReader:
    return Config.load("CRM", environ={variable(k, "CRM"): v for k, v in values.items()})


def from_overrides(values: Values) -> ConfigReader:
    return Config.load("CRM", overrides=dict(values), environ={})


@pytest.fixture(params=["memory", "variables", "overrides", "toml", "json", "yaml", "secrets"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return what makes a reader of texts by dotted key."""

    def from_file(suffix: str) -> Make:
        def make_config(values: Values) -> ConfigReader:
            # A JSON string is a string of YAML and of TOML as well; so is a key.
            sign, head, tail = (" = ", "", "\n") if suffix == "toml" else (": ", "{", "}")
            joint = "\n" if suffix == "toml" else ","
            lines = (f"{_quoted_path(k, suffix)}{sign}{json.dumps(v)}" for k, v in values.items())
            path = tmp_path / f"settings.{suffix}"
            path.write_text(head + joint.join(lines) + tail, encoding="utf-8")
            return Config.load("CRM", files=[path], environ={})

        return make_config

    def from_secrets(values: Values) -> ConfigReader:
        for key, value in values.items():
            (tmp_path / key).write_text(value, encoding="utf-8")
        return Config.load("CRM", secrets_dir=tmp_path, environ={})

    makers: dict[str, Make] = {
        "memory": MemoryConfig,
        "variables": from_variables,
        "overrides": from_overrides,
        "secrets": from_secrets,
    }
    name: str = request.param
    return makers.get(name) or from_file(name)


def _quoted_path(key: str, suffix: str) -> str:
    return key if suffix == "toml" else json.dumps(key)


def test_reads_text_in_each_type(make: Make) -> None:
    config = make(
        {
            "name": "crm",
            "port": "8080",
            "debug": "off",
            "ratio": "0.30",
            "timeout": "1m30s",
            "body.limit": "10MiB",
            "hosts": "a, b",
            "db.password": "hunter2",
        }
    )
    assert config.get("name") == "crm"
    assert config.get_str("ratio") == "0.30"
    assert config.get_int("port") == 8080
    assert config.get_bool("debug") is False
    assert config.get_float("ratio") == 0.3
    assert config.get_duration("timeout") == timedelta(seconds=90)
    assert config.get_bytes("body.limit") == ByteSize(10 * 1024**2)
    assert config.get_list("hosts") == ["a", "b"]
    assert config.get_secret("db.password") == Secret("hunter2")


def test_reads_the_same_twice(make: Make) -> None:
    config = make({"port": "8080", "db.password": "x"})
    assert [config.get_int("port") for _ in range(3)] == [8080] * 3
    assert config.get_secret("db.password") is config.get_secret("db.password")


def test_a_value_is_read_as_text_after_it_was_read_as_a_number(make: Make) -> None:
    config = make({"port": "08080"})
    assert (config.get_int("port"), config.get_str("port"), config.get("port")) == (
        8080, "08080", "08080",
    )  # fmt: skip


@pytest.mark.parametrize(
    "spelling", ["db.maxConns", "db.max-conns", "DB.MAX_CONNS", "db.max_conns"]
)
def test_every_spelling_of_a_key_finds_it(make: Make, spelling: str) -> None:
    config = make({"db.max_conns": "5"})
    assert [config.get_int(spelling), config.get_int(spelling)] == [5, 5]
    assert config.is_set(spelling)


READS: dict[str, Callable[[ConfigReader, object], object]] = {
    "get": lambda config, default: config.get("absent", default),
    "get_str": lambda config, default: config.get_str("absent", default),
    "get_int": lambda config, default: config.get_int("absent", default),
    "get_bool": lambda config, default: config.get_bool("absent", default),
    "get_float": lambda config, default: config.get_float("absent", default),
    "get_duration": lambda config, default: config.get_duration("absent", default),
    "get_bytes": lambda config, default: config.get_bytes("absent", default),
    "get_list": lambda config, default: config.get_list("absent", default),
    "get_secret": lambda config, default: config.get_secret("absent", default),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("default", [None, 0, ""], ids=["none", "zero", "empty"])
def test_a_default_is_returned_as_it_is(
    make: Make, read: Callable[[ConfigReader, object], object], default: object
) -> None:
    assert read(make({"port": "1"}), default) is default


@pytest.mark.parametrize("method", READS)
def test_without_a_default_an_absent_key_is_an_error(make: Make, method: str) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(make({"port": "1"}), method)("db.host")
    (problem,) = caught.value.problems
    assert (problem.key, problem.kind) == ("db.host", "missing")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("get_int", "1_000"),
        ("get_bool", ""),
        ("get_float", "nan"),
        ("get_duration", "5"),
        ("get_bytes", "512"),
        ("get_list", ""),
    ],
)
def test_text_of_another_type_is_an_error_although_there_is_a_default(
    make: Make, method: str, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(make({"size": text}), method)("size", None)
    (problem,) = caught.value.problems
    assert (problem.key, problem.kind) == ("size", "invalid")
    assert problem.origin


def test_the_empty_text_is_set(make: Make) -> None:
    config = make({"name": ""})
    assert config.is_set("name")
    assert config.get_str("name", "other") == ""
    config.validate(["name"])


def test_what_is_not_there_is_not_set(make: Make) -> None:
    assert not make({"db.host": "x"}).is_set("db.port")


def test_a_section_is_not_a_value(make: Make) -> None:
    config = make({"db.host": "x"})
    assert not config.is_set("db")
    with pytest.raises(ConfigError, match="is a section"):
        config.get_str("db")


def test_validate_lists_every_absent_key(make: Make) -> None:
    config = make({"name": "crm"})
    config.validate(["name"])
    with pytest.raises(ConfigError) as caught:
        config.validate(["db.host", "name", "db.port"])
    assert [problem.key for problem in caught.value.problems] == ["db.host", "db.port"]


def test_validate_takes_a_list_of_keys_not_one(make: Make) -> None:
    with pytest.raises(TypeError, match="list of keys"):
        make({}).validate("name")


def test_lists_belong_to_the_caller(make: Make) -> None:
    config = make({"hosts": "a,b"})
    config.get_list("hosts").append("c")
    assert config.get_list("hosts") == ["a", "b"]


@dataclass(frozen=True)
class Database:
    host: str
    port: Annotated[int, Range(1, 65535)] = 5432


@dataclass(frozen=True)
class Settings:
    db: Database
    password: Secret
    hosts: list[str] = field(default_factory=list)
    timeout: timedelta = timedelta(seconds=30)


def test_binds_a_dataclass(make: Make) -> None:
    config = make({"db.host": "db", "password": "x", "hosts": "a,b", "timeout": "5s"})
    assert config.bind(Settings) == Settings(
        Database("db"), Secret("x"), ["a", "b"], timedelta(seconds=5)
    )
    assert config.bind(Database, at="db") == Database("db", 5432)


def test_binding_reports_every_problem_at_once(make: Make) -> None:
    config = make({"db.port": "70000", "timeout": "5", "hosts": ""})
    with pytest.raises(ConfigError) as caught:
        config.bind(Settings)
    found = {(problem.key, problem.kind) for problem in caught.value.problems}
    assert found == {
        ("db.host", "missing"),
        ("db.port", "invalid"),
        ("password", "missing"),
        ("timeout", "invalid"),
        ("hosts", "invalid"),
    }


def test_reprs_hold_no_values(make: Make) -> None:
    config = make({"name": "canary", "db.password": "canary"})
    config.get_secret("db.password")
    assert "canary" not in repr(config) + str(config) + repr(getattr(config, "source", None))


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_reads_back_as_itself_from_memory_and_overrides(text: str) -> None:
    for config in (MemoryConfig({"value": text}), from_overrides({"value": text})):
        assert (config.get_str("value"), config.get("value")) == (text, text)
        assert config.get_secret("value").reveal() == text


@pytest.mark.parametrize(
    "values", [{"a": "1", "A": "2"}, {"a": "1", "a.b": "2"}, {"": "1"}, {"a..b": "1"}, {1: "1"}]
)
def test_the_fake_refuses_what_no_configuration_could_be(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="MemoryConfig has"):
        MemoryConfig(copy.deepcopy(values))


def test_the_fake_takes_nested_and_typed_values() -> None:
    config = MemoryConfig({"db": {"port": 5432, "ssl": True}, "ttl": timedelta(1), "db.host": "x"})
    assert (config.get_int("db.port"), config.get_bool("db.ssl")) == (5432, True)
    assert (config.get_duration("ttl"), config.get_str("db.host")) == (timedelta(1), "x")
    assert MemoryConfig().get("x", None) is None
