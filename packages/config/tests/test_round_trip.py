"""A variable is text: it comes back as it is, whatever it looks like."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mtenant_config
from mtenant_config import Config, Env, from_env

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

# Each of these is something else to dynaconf, to a shell or to YAML.
LOOKALIKES = [
    "12345 #abc", "+4912345", "0.30", "1e5", "nan", "2024-01-01", "0x1F", '"x"', "'x'", "1\nb=2",
    "@format {env[HOME]}", "@jinja {{ 7 * 7 }}", "@read_file /etc/hostname", "@int 5", "@none ",
    "@merge a=b", "@del", "@json {}", "true", "no", "", " ", "\n", "\t x \t", "[1, 2]", "{a=1}",
    "null", "~", "${HOME}", "$HOME", "%(x)s", "{this.X}", "\x00", "\ufeffx", "é\u0301", "😀", "a,b",
    "dynaconf_merge", "@empty", "@reset []", "@get X",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    value: str
    named: Annotated[str, Env("NAMED_VALUE")]


@given(text=TEXTS)
def test_every_text_of_a_variable_reads_back_as_itself(text: str) -> None:
    environ = {"CRM_VALUE": text, "CRM_DB__VALUE": text, "NAMED_VALUE": text}
    config = Config.load("CRM", environ=environ)
    assert config.get_str("value") == text
    assert config.get("db.value") == text
    assert config.get_secret("db.value").reveal() == text
    bound = Config.load("CRM", environ={k: v for k, v in environ.items() if "DB" not in k})
    assert bound.bind(Settings) == Settings(text, text)
    assert from_env(Settings, prefix="CRM", environ=environ) == Settings(text, text)
    assert from_env(Settings, environ={"VALUE": text, "NAMED_VALUE": text}) == Settings(text, text)


for _text in LOOKALIKES:
    test_every_text_of_a_variable_reads_back_as_itself = example(text=_text)(
        test_every_text_of_a_variable_reads_back_as_itself
    )


@given(text=TEXTS.filter(lambda text: not text.endswith("\n")), ending=st.sampled_from(["", "\n"]))
def test_every_text_of_a_secret_file_reads_back_without_its_last_newline(
    text: str, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "secret"
    path.write_bytes((text + ending).encode())
    expected = text.removesuffix("\r") if ending else text
    environ = {"CRM_VALUE_FILE": str(path)}
    assert Config.load("CRM", environ=environ).get_str("value") == expected


def test_values_of_files_are_literal_too(tmp_path: Path) -> None:
    texts = [text for text in LOOKALIKES if "\x00" not in text]
    for suffix in ("json", "yaml", "toml"):
        path = tmp_path / f"settings.{suffix}"
        if suffix == "toml":
            content = "\n".join(
                f"k{n} = {json.dumps(t, ensure_ascii=False)}" for n, t in enumerate(texts)
            )
        else:
            content = json.dumps({f"k{n}": t for n, t in enumerate(texts)}, ensure_ascii=False)
        path.write_text(content, encoding="utf-8")
        config = Config.load("CRM", files=[path], environ={})
        assert [config.get_str(f"k{n}") for n in range(len(texts))] == texts


def test_keys_that_are_orders_to_dynaconf_are_plain_keys(tmp_path: Path) -> None:
    names = [
        "dynaconf_merge", "dynaconf_merge_unique", "dynaconf_include", "dynaconf_dotted_lookup",
        "merge_enabled_for_dynaconf", "auto_cast_for_dynaconf", "loaders_for_dynaconf", "dynaboxify",
        "get", "set", "store", "validators", "from_env", "settings_module", "environ", "keys", "root",
        "_root", "x__y", "a__0",
    ]  # fmt: skip
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    for path, value in ((one, "low"), (two, "high")):
        lines = [f"{name} = '{value}'" for name in names]
        path.write_text("\n".join([*lines, "[table]", *lines]) + f"\nonly_{value} = '1'\n")
    config = Config.load("CRM", files=[one, two], environ={})
    for name in names:
        assert config.get_str(name) == config.get_str(f"table.{name}") == "high"
    assert config.get_str("table.only_low") == "1"


ORDERS = {
    "MERGE_ENABLED_FOR_DYNACONF": "false",
    "AUTO_CAST_FOR_DYNACONF": "true",
    "ENVIRONMENTS_FOR_DYNACONF": "true",
    "ENV_FOR_DYNACONF": "production",
    "FORCE_ENV_FOR_DYNACONF": "production",
    "ENVVAR_PREFIX_FOR_DYNACONF": "OTHER",
    "LOWERCASE_READ_FOR_DYNACONF": "false",
    "DOTTED_LOOKUP_FOR_DYNACONF": "true",
    "NESTED_SEPARATOR_FOR_DYNACONF": "_",
    "INDEX_SEPARATOR_FOR_DYNACONF": "_",
    "INCLUDES_FOR_DYNACONF": "['{tmp}/included.toml']",
    "PRELOAD_FOR_DYNACONF": "['{tmp}/included.toml']",
    "SECRETS_FOR_DYNACONF": "{tmp}/included.toml",
    "SETTINGS_FILE_FOR_DYNACONF": "{tmp}/included.toml",
    "SYSENV_FALLBACK_FOR_DYNACONF": "true",
    "YAML_LOADER_FOR_DYNACONF": "unsafe_load",
    "ENCODING_FOR_DYNACONF": "latin-1",
    "LOAD_DOTENV_FOR_DYNACONF": "true",
    "VALIDATE_ON_UPDATE_FOR_DYNACONF": "true",
    "DYNACONF_DB__HOST": "from dynaconf",
    "DYNACONF_EXTRA": "from dynaconf",
    "DYNABOXIFY": "true",
}

PROGRAM = """
import json, sys
from mtenant_config import Config
config = Config.load("CRM", files=["settings.toml", "settings.yaml"])
print(json.dumps([config.get_list("hosts"), config.get("db"+".host"), config.get("text"), config.env,
                  config.report()]))
"""


def run(cwd: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=cwd,
        env={"PATH": os.defpath, "CRM_DB__PORT": "5432", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_variables_and_files_that_are_orders_to_dynaconf_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        "text = '@format {env[HOME]}'\nhosts = ['a', 'b']\n[db]\nhost = 'low'\n"
    )
    (tmp_path / "settings.yaml").write_text("hosts: [c]\ndb:\n  host: é\n", encoding="utf-8")
    plain = run(tmp_path, {})
    (tmp_path / "included.toml").write_text("text = 'included'\n[db]\nhost = 'included'\n")
    (tmp_path / "settings.local.toml").write_text("text = 'local'\n")
    (tmp_path / ".secrets.toml").write_text("text = 'secrets'\n")
    (tmp_path / ".env").write_text("CRM_TEXT=dotenv\nDYNACONF_TEXT=dotenv\n")
    (tmp_path / "dynaconf_hooks.py").write_text("raise SystemExit('a hook file was run')\n")
    orders = {name: text.replace("{tmp}", str(tmp_path)) for name, text in ORDERS.items()}
    assert run(tmp_path, orders) == plain
    assert '[["c"], "\\u00e9", "@format {env[HOME]}", null' in plain


def test_when_a_variable_breaks_dynaconf_the_error_names_it(tmp_path: Path) -> None:
    program = """
from mtenant_config import Config, ConfigError
try:
    Config.load("CRM")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.defpath, "REDIS_PORT_FOR_DYNACONF": "canary"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "unset REDIS_PORT_FOR_DYNACONF" in done.stdout
    assert "canary" not in done.stdout


def test_one_file_imports_dynaconf() -> None:
    package = Path(mtenant_config.__file__).parent
    imports = re.compile(r"^\s*(import|from) dynaconf", re.MULTILINE)
    found = [path.name for path in package.glob("**/*.py") if imports.search(path.read_text())]
    assert found == ["_dynaconf.py"]


@pytest.mark.parametrize(
    "program",
    [
        "import mtenant_config, mtenant_config.testing, mtenant_config.template",
        "from dataclasses import dataclass\nfrom mtenant_config import *\n"
        "S = dataclass(frozen=True)(type('S', (), {'__annotations__': {'port': int}}))\n"
        "from_env(S, environ={'PORT': '1'})",
        "import mtenant_config.testing as t; t.MemoryConfig({'a': '1'}).get_int('a')",
        "import sys; sys.path.insert(0, '.'); open('m.py', 'w').write('from dataclasses import *\\n"
        "@dataclass(frozen=True)\\nclass S:\\n  port: int = 1\\n')\n"
        "from mtenant_config.__main__ import main; assert main(['template', 'm:S']) == 0",
        "import sys; sys.path.insert(0, '.'); open('m.py', 'w').write('from dataclasses import *\\n"
        "@dataclass(frozen=True)\\nclass S:\\n  port: int = 1\\n')\n"
        "from mtenant_config.__main__ import main; assert main(['check', 'm:S']) == 0",
    ],
    ids=["import", "from_env", "memory", "template", "check without a prefix"],
)
def test_dynaconf_is_not_imported_by(program: str, tmp_path: Path) -> None:
    after = "\nimport sys; sys.exit(any(m.partition('.')[0] == 'dynaconf' for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program + after], cwd=tmp_path, check=False, timeout=60
    )
    assert done.returncode == 0
