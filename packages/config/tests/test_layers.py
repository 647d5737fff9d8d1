"""Which layer counts, and what becomes of each kind of file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import Config, ConfigError
from mtenant_config._dynaconf import merge
from mtenant_config.names import fold
from mtenant_config.setting import Layer, Origin, Setting

Write = Callable[[str, str], Path]


def problems(call: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        call()
    return [(problem.key, problem.message) for problem in caught.value.problems]


LAYERS = [
    "file default",
    "file environment",
    "optional file",
    "dotenv",
    "environment",
    "secrets directory",
    "secret by X_FILE",
    "overrides",
]


def load(tmp_path: Path, layers: list[str]) -> Config:
    """Load a configuration whose `db.x` says in which of the layers it stands."""
    sections = {
        "default": "file default" in layers,
        "production": "file environment" in layers,
    }
    file = tmp_path / "settings.toml"
    text = "[default]\n" + "".join(
        f"[{name}.db]\nx = 'file {'default' if name == 'default' else 'environment'}'\n"
        for name, wanted in sections.items()
        if wanted
    )
    file.write_text(text)
    local = tmp_path / "local.toml"
    if "optional file" in layers:
        local.write_text("[db]\nx = 'optional file'\n")
    dotenv = tmp_path / ".env"
    if "dotenv" in layers:
        dotenv.write_text("CRM_DB__X=dotenv\n")
    environ = {"ENVIRONMENT": "prod"}
    if "environment" in layers:
        environ["CRM_DB__X"] = "environment"
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    if "secrets directory" in layers:
        (secrets / "crm_db__x").write_text("secrets directory\n")
    if "secret by X_FILE" in layers:
        path = tmp_path / "x"
        path.write_text("secret by X_FILE")
        environ["CRM_DB__X_FILE"] = str(path)
    return Config.load(
        "CRM",
        files=[file],
        optional_files=[local],
        dotenv=dotenv,
        secrets_dir=secrets,
        overrides={"db": {"x": "overrides"}} if "overrides" in layers else None,
        environ=environ,
    )


PAIRS = [
    pair
    for pair in itertools.combinations(LAYERS, 2)
    if pair != ("environment", "secret by X_FILE")  # refused, see below
]


@pytest.mark.parametrize(("low", "high"), PAIRS, ids=[" < ".join(pair) for pair in PAIRS])
def test_the_higher_layer_counts_and_the_lower_is_explained(
    tmp_path: Path, low: str, high: str
) -> None:
    config = load(tmp_path, [low, high])
    assert config.get_str("db.x") == high
    explained = config.explain("db.x")
    assert len(explained.shadowed) == 1
    assert config.report()[0]["key"] == "db.x"


def test_all_layers_together(tmp_path: Path) -> None:
    layers = [layer for layer in LAYERS if layer != "secret by X_FILE"]
    config = load(tmp_path, layers)
    explained = config.explain("db.x")
    shown = [explained.value, *(value for value, _ in explained.shadowed)]
    assert shown == [
        "'overrides'", "***", "'environment'", "'dotenv'", "'optional file'", "'file environment'",
        "'file default'",
    ]  # fmt: skip
    assert explained.origin == "overrides"
    assert [origin.replace(str(tmp_path), "") for _, origin in explained.shadowed] == [
        "/secrets/crm_db__x",
        "CRM_DB__X",
        "/.env:1 CRM_DB__X",
        "/local.toml:2",
        "/settings.toml:5 [production]",
        "/settings.toml:3 [default]",
    ]
    assert str(explained).splitlines()[0] == "db.x = 'overrides'  (overrides)"


WORDS = st.text(st.characters(exclude_characters="."), min_size=1, max_size=3).map(fold)
# None is a section of another.
KEYS = st.one_of(
    st.sampled_from(["a", "b.c", "b.d", "b.e.f", "g.h"]),
    st.tuples(st.just("x"), WORDS, WORDS).map(".".join),
)


@given(st.lists(st.dictionaries(KEYS, st.integers()), max_size=6))
def test_dynaconf_layers_as_a_dictionary_would(layers: list[dict[str, int]]) -> None:
    settings = [
        {k: Setting(k, v, Origin(Layer.FILE, "f")) for k, v in layer.items()} for layer in layers
    ]
    expected: dict[str, Setting] = {}
    for layer in settings:
        expected |= layer
    assert merge(settings) == expected


def test_tables_are_merged_and_lists_are_replaced(write: Write) -> None:
    file = write(
        "s.toml",
        "[default]\nhosts = ['a', 'b']\n[default.db]\nhost = 'x'\nport = 1\n"
        "[production]\nhosts = ['c']\n[production.db]\nport = 2\n",
    )
    config = Config.load("CRM", files=[file], env="production", environ={})
    assert config.get_list("hosts") == ["c"]
    assert (config.get_str("db.host"), config.get_int("db.port")) == ("x", 2)


def test_no_default_section_undoes_what_is_said_for_the_environment(write: Write) -> None:
    one = write("one.toml", "[default]\nx = '1 default'\n[production]\nx = '1 production'\n")
    two = write("two.toml", "[default]\nx = '2 default'\n")
    config = Config.load("CRM", files=[one, two], env="production", environ={})
    assert config.get_str("x") == "1 production"


@pytest.mark.parametrize(
    ("argument", "environ", "dotenv", "expected"),
    [
        (None, {}, "", None),
        (None, {"ENVIRONMENT": "dev"}, "", "development"),
        (None, {"ENVIRONMENT": "Production"}, "", "production"),
        (None, {"ENVIRONMENT": ""}, "", None),
        (None, {}, "ENVIRONMENT=prod", "production"),
        (None, {"ENVIRONMENT": "dev"}, "ENVIRONMENT=prod", "development"),
        ("staging", {"ENVIRONMENT": "dev"}, "", "staging"),
    ],
)
def test_the_environment_is_chosen(
    write: Write, argument: str | None, environ: dict[str, str], dotenv: str, expected: str | None
) -> None:
    path = write(".env", dotenv)
    assert Config.load("CRM", env=argument, dotenv=path, environ=environ).env == expected


@pytest.mark.parametrize("section", ["dev", "development"])
@pytest.mark.parametrize("env", ["dev", "development"])
def test_dev_and_development_are_one(write: Write, section: str, env: str) -> None:
    file = write("s.toml", f"[{section}]\nx = '1'\n")
    assert Config.load("CRM", files=[file], env=env, environ={}).get_str("x") == "1"


def test_without_an_environment_only_the_default_section_counts(write: Write) -> None:
    file = write("s.toml", "[default]\nx = '1'\n[development]\nx = '2'\ny = '3'\n")
    config = Config.load("CRM", files=[file], environ={})
    assert (config.get_str("x"), config.is_set("y")) == ("1", False)


@pytest.mark.parametrize(
    ("env", "sections"),
    [("prodution", ["production"]), ("production", ["default", "prodution"])],
    ids=["environment", "section"],
)
def test_a_misspelt_environment_or_section_is_a_problem(
    write: Write, env: str, sections: list[str]
) -> None:
    file = write("s.toml", "\n".join(f"[{section}]\nx = '1'" for section in sections))
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", files=[file], env=env, environ={})
    (problem,) = caught.value.problems
    assert problem.suggestion == (
        f"did you mean {sections[-1]}? If not, add an empty section [{env}]"
    )
    write("s.toml", file.read_text() + f"\n[{env}]\n")
    Config.load("CRM", files=[file], env=env, environ={})


@pytest.mark.parametrize("env", ["prod1", "preproduction", "staging", "local"])
def test_an_environment_without_a_section_is_no_problem(write: Write, env: str) -> None:
    file = write("s.toml", "[default]\nx = '1'\n[production]\nx = '2'\n[prod2]\nx = '3'\n")
    assert Config.load("CRM", files=[file], env=env, environ={}).get_str("x") == "1"


def test_a_file_without_sections_counts_as_default(write: Write) -> None:
    file = write("s.toml", "x = '1'\n[db]\nhost = 'h'\n")
    config = Config.load("CRM", files=[file], env="production", environ={})
    assert (config.get_str("x"), config.get_str("db.host")) == ("1", "h")


def test_a_setting_outside_of_the_sections_is_a_problem(write: Write) -> None:
    file = write("s.toml", "port = 1\n[default]\nx = '1'\n")
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", files=[file], environ={})
    (problem,) = caught.value.problems
    assert problem.origin == f"{file}:1"
    assert problem.suggestion == "move it below [default]"


def test_two_sections_of_one_environment_are_a_problem(write: Write) -> None:
    file = write("s.toml", "[dev]\nx = '1'\n[development]\nx = '2'\n")
    found = problems(lambda: Config.load("CRM", files=[file], env="dev", environ={}))
    assert found == [(str(file), "has two sections for development")]


def test_all_formats_read_alike(write: Write) -> None:
    toml = write(
        "s.toml", "[default]\nport = 1\nratio = 0.5\non = true\n[default.db]\nhosts = ['a']\n"
    )
    yaml = write("s.yaml", "default:\n  port: 1\n  ratio: 0.5\n  on: true\n  db:\n    hosts: [a]\n")
    yml = write("s.yml", yaml.read_text())
    json = write(
        "s.json", '{"default": {"port": 1, "ratio": 0.5, "on": true, "db": {"hosts": ["a"]}}}'
    )
    for file in (toml, yaml, yml, json):
        config = Config.load("CRM", files=[file], environ={})
        assert config.get("port") == config.get_int("port") == 1
        assert (config.get_float("ratio"), config.get_bool("on")) == (0.5, True)
        assert config.get_list("db.hosts") == config.get("db.hosts") == ["a"]


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_an_empty_file_sets_nothing(write: Write, suffix: str) -> None:
    text = "{}" if suffix == "json" else "# nothing\n"
    assert Config.load("CRM", files=[write(f"s.{suffix}", text)], environ={}).report() == []


CANARY = "canary-9f3b"

BROKEN: dict[str, tuple[str, str, str, int | None]] = {
    "toml syntax": ("s.toml", f"x = '1'\npassword = {CANARY}\n", "not valid TOML", None),
    "toml twice": ("s.toml", f"x = '1'\nx = '{CANARY}'\n", "not valid TOML", None),
    "toml long int": ("s.toml", f"x = {'9' * 5000}\n", "not valid TOML", None),
    "toml nan": ("s.toml", "x = nan\n", "nan at x", None),
    "json syntax": ("s.json", f'{{"x": 1,\n "password": {CANARY}}}', "not valid JSON", 2),
    "json twice": ("s.json", f'{{"x": "1", "x": "{CANARY}"}}', "the key 'x' twice", None),
    "json nan": ("s.json", '{"x": NaN}', "has NaN", None),
    "json infinity": ("s.json", '{"x": -Infinity}', "has -Infinity", None),
    "json overflow": ("s.json", '{"x": 1e999}', "inf at x", None),
    "json deep": ("s.json", '{"a":' * 100_000, "not valid JSON", None),
    "json list": ("s.json", f'["{CANARY}"]', "not a table", None),
    "yaml syntax": ("s.yaml", f"x: 1\npassword: {CANARY}: {CANARY}\n", "not valid YAML", 2),
    "yaml tab": ("s.yaml", f"x:\n\tpassword: {CANARY}\n", "not valid YAML", 2),
    "yaml twice": ("s.yaml", f"a: 1\nx: {CANARY}\nx: 2\n", "the key 'x' twice, first on line 2", 3),
    "yaml twice deep": ("s.yaml", f"d:\n  x: {CANARY}\n  x: 2\n", "twice, first on line 2", 3),
    "yaml documents": ("s.yaml", f"x: 1\n---\nx: {CANARY}\n", "not valid YAML", 2),
    "yaml tag": ("s.yaml", f"x: !!python/object/apply:os.system ['{CANARY}']\n", "not valid", 1),
    "yaml date": ("s.yaml", "x: 2024-13-45\n", "not valid YAML", None),
    "yaml int key": ("s.yaml", f"1: {CANARY}\n", "a key that is no name: 1", None),
    "yaml null key": ("s.yaml", f"~: {CANARY}\n", "a key that is no name: None", None),
    "yaml in itself": ("s.yaml", f"a: &a\n  p: {CANARY}\n  b: *a\n", "levels deep", None),
    "yaml bomb": (
        "s.yaml",
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 30)),
        "more than 100000 keys",
        None,
    ),
    "yaml scalar": ("s.yaml", CANARY, "not a table", None),
    "empty key": ("s.json", f'{{"": "{CANARY}"}}', "a key that is no name", None),
    "empty part": ("s.json", f'{{"a..b": "{CANARY}"}}', "a key that is no name", None),
    "line break in a key": ("s.json", f'{{"a\\nb": "{CANARY}"}}', "a key that is no name", None),
    "two spellings": ("s.toml", f"maxConns = 1\nmax_conns = '{CANARY}'\n", "max_conns twice", 2),
    "dotted twin": ("s.toml", f"'a.b' = 1\n[a]\nb = '{CANARY}'\n", "a.b twice", 3),
    "suffix": ("s.ini", f"x = {CANARY}", "suffix that is none of", None),
}


@pytest.mark.parametrize(("name", "text", "reason", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_its_line_and_none_of_its_values(
    write: Write, name: str, text: str, reason: str, line: int | None
) -> None:
    file = write(name, text)
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", files=[file], environ={})
    (problem,) = caught.value.problems
    assert problem.key == str(file)
    assert reason in problem.message
    assert problem.origin == (f"{file}:{line}" if line else None)
    assert CANARY not in str(caught.value) + repr(problem)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    file, dotenv = tmp_path / "s.toml", tmp_path / ".env"
    file.write_bytes(b"x = '\xff'")
    dotenv.write_bytes(b"X=\xff")
    found = problems(lambda: Config.load("CRM", files=[file], dotenv=dotenv, environ={}))
    assert sorted(found) == [(str(dotenv), "is not UTF-8 text"), (str(file), "is not UTF-8 text")]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(b"\xef\xbb\xbfx = '1'")
    assert Config.load("CRM", files=[file], environ={}).get_str("x") == "1"


def test_every_absent_or_unreadable_file_is_in_one_error(tmp_path: Path, write: Write) -> None:
    broken = write("broken.toml", "x =")
    found = problems(
        lambda: Config.load("CRM", files=[tmp_path / "no.toml", broken, tmp_path], environ={})
    )
    assert [key for key, _ in found] == [str(tmp_path / "no.toml"), str(broken), str(tmp_path)]
    assert found[0][1] == "does not exist"


def test_an_absent_optional_file_is_no_problem(tmp_path: Path) -> None:
    config = Config.load(
        "CRM",
        optional_files=[tmp_path / "no.toml"],
        dotenv=tmp_path / ".env",
        secrets_dir=tmp_path / "secrets",
        environ={},
    )
    assert config.report() == []


def test_a_broken_optional_file_is_a_problem(write: Write) -> None:
    file = write("s.toml", "x =")
    assert problems(lambda: Config.load("CRM", optional_files=[file], environ={}))[0][0] == str(
        file
    )


def test_files_are_not_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.toml").write_text("x = '1'")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found = problems(lambda: Config.load("CRM", files=["settings.toml"], environ={}))
    assert found == [("settings.toml", "does not exist")]


COLLISIONS: dict[str, dict[str, Any]] = {
    "variables": {"environ": {"CRM_DB": "x", "CRM_DB__HOST": "y"}},
    "file and variable": {"files": "db = 'x'\n", "environ": {"CRM_DB__HOST": "y"}},
    "variable and file": {"files": "[db]\nhost = 'y'\n", "environ": {"CRM_DB": "x"}},
    "file and overrides": {"files": "db = 'x'\n", "overrides": {"db.host": "y"}},
}


@pytest.mark.parametrize("layers", COLLISIONS.values(), ids=COLLISIONS)
def test_a_key_that_is_a_value_and_a_section_is_a_problem_that_names_both(
    write: Write, layers: dict[str, Any]
) -> None:
    files = [write("s.toml", layers["files"])] if "files" in layers else []
    rest = {"environ": {}} | {k: v for k, v in layers.items() if k != "files"}
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", files=files, **rest)
    (problem,) = caught.value.problems
    assert (problem.key, problem.kind) == ("db", "conflict")
    assert "is a value at" in problem.message
    assert "a section at" in problem.message


def test_null_where_others_have_a_section_says_nothing(write: Write) -> None:
    one, two = write("one.yaml", "db: ~\n"), write("two.yaml", "db:\n  host: x\n")
    config = Config.load("CRM", files=[one, two], environ={})
    assert config.get_str("db.host") == "x"


NULLS: list[tuple[list[str], list[str]]] = [
    (["db: ~", "db: {host: x}"], ["db.host"]),
    (["db: {host: x}", "db: ~"], ["db.host"]),
    (["db: ~", "db: x", "db: {host: ~}"], ["db"]),
    (["db: {host: ~}", "db: x"], ["db"]),
    (["db: ~\ndb.host: ~"], []),
    (["db: ~\ndb.host: x"], ["db.host"]),
    (["a: {b: ~}", "a: {b: {c: x}}", "a: ~"], ["a.b.c"]),
]


@pytest.mark.parametrize(("texts", "keys"), NULLS, ids=map(str, range(len(NULLS))))
def test_null_neither_makes_nor_hides_a_section(
    write: Write, texts: list[str], keys: list[str]
) -> None:
    files = [write(f"{number}.yaml", text) for number, text in enumerate(texts)]
    config = Config.load("CRM", files=files, environ={})
    assert [line["key"] for line in config.report()] == keys


def test_a_null_beside_a_value_does_not_hide_a_collision(write: Write) -> None:
    files = [write("1.yaml", "db: ~"), write("2.yaml", "db: x"), write("3.yaml", "db: {host: y}")]
    with pytest.raises(ConfigError, match="is a value at"):
        Config.load("CRM", files=files, environ={})


def test_null_in_a_higher_layer_unsets(write: Write) -> None:
    file = write("s.yaml", "default:\n  x: 1\nproduction:\n  x: ~\n")
    config = Config.load("CRM", files=[file], env="production", environ={})
    assert not config.is_set("x")
    assert config.get("x", "default") == "default"


def test_later_changes_of_what_was_given_have_no_effect(write: Write) -> None:
    environ, hosts = {"CRM_X": "1"}, ["a"]
    overrides: dict[str, Any] = {"db": {"hosts": hosts}}
    config = Config.load("CRM", overrides=overrides, environ=environ)
    environ["CRM_X"] = "2"
    hosts.append("b")
    overrides["db"]["new"] = "x"
    assert (config.get_str("x"), config.get_list("db.hosts")) == ("1", ["a"])
    got = config.get("db.hosts")
    assert isinstance(got, list)
    got.append("c")
    assert config.get("db.hosts") == ["a"]


def test_the_process_environment_is_read_by_default_and_never_written(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    monkeypatch.setenv("CRM_X", "1")
    before = dict(os.environ)
    config = Config.load("CRM", dotenv=write(".env", "CRM_Y=2\nOTHER=3\n"))
    assert (config.get_str("x"), config.get_str("y")) == ("1", "2")
    assert dict(os.environ) == before


def test_a_prefix_does_not_take_what_belongs_to_a_longer_one() -> None:
    config = Config.load("CRM", environ={"CRMX_A": "1", "CRM_B": "2", "A": "3"})
    assert [line["key"] for line in config.report()] == ["b"]


@pytest.mark.parametrize("prefix", ["", "crm", "CRM_", "_CRM", "C-RM", "1CRM", "CRM__X"])
def test_a_prefix_is_an_upper_case_name(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Config.load(prefix, environ={})


def test_one_path_where_a_list_belongs_is_an_error(tmp_path: Path) -> None:
    for paths in ("s.toml", tmp_path):
        with pytest.raises(TypeError, match="list of paths"):
            Config.load("CRM", files=paths, environ={})  # type: ignore[arg-type] # what is tried


DOTENV = """\
# a comment
export CRM_A=1
CRM_B='two words'
CRM_C="line\\nbreak"   # another
CRM_D=${HOME}
CRM_E=
CRM_F
CRM_A=2
OTHER=x
"""


def test_a_dotenv_file_is_read_without_filling_anything_in(write: Write) -> None:
    config = Config.load("CRM", dotenv=write(".env", DOTENV), environ={})
    assert {line["key"] for line in config.report()} == {"a", "b", "c", "d", "e"}
    assert [config.get_str(key) for key in "abcde"] == [
        "2",
        "two words",
        "line\nbreak",
        "${HOME}",
        "",
    ]
    assert config.explain("b").origin == f"{write('.env', DOTENV)}:3 CRM_B"


def test_a_line_of_a_dotenv_file_that_sets_nothing_is_named(write: Write) -> None:
    file = write(".env", f"CRM_A=1\nCRM_B='{CANARY}\n")
    with pytest.raises(ConfigError) as caught:
        Config.load("CRM", dotenv=file, environ={})
    (problem,) = caught.value.problems
    assert problem.origin == f"{file}:2"
    assert CANARY not in str(caught.value)


def test_another_kind_of_file_is_no_dotenv_file(write: Write) -> None:
    file = write(".env", "CRM_A=1\n\n[default]\nport=1\n")
    found = problems(lambda: Config.load("CRM", dotenv=file, environ={}))
    assert found == [(str(file), "is no NAME=value")]


def test_overrides_are_checked_like_a_file() -> None:
    overrides: dict[Any, Any] = {"db": {1: "x"}}
    found = problems(lambda: Config.load("CRM", overrides=overrides, environ={}))
    assert found == [("overrides", "has a key that is no name: 1")]
    twice = {"maxConns": 1, "max_conns": 2}
    found = problems(lambda: Config.load("CRM", overrides=twice, environ={}))
    assert found == [("overrides", "has max_conns twice")]


def test_threads_read_one_config_at_once() -> None:
    config = Config.load("CRM", environ={f"CRM_N{n}": str(n) for n in range(50)})
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda n: config.get_int(f"n{n % 50}"), range(2000)))
    assert read == [n % 50 for n in range(2000)]
