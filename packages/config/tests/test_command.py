from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import ByteSize, Config, Env, Range, Secret
from mtenant_config.__main__ import main
from mtenant_config.template import env_template, toml_template

Write = Callable[[str, str], Path]

MODULE = """
from dataclasses import dataclass
from typing import Annotated, Any
from mtenant_config import Env, Range, Secret

@dataclass(frozen=True)
class Db:
    host: str
    port: Annotated[int, Range(1, 65535)] = 5432
    password: Secret = Secret("default-canary")

@dataclass(frozen=True)
class Settings:
    db: Db
    url: Annotated[str, Env("SERVICE_URL")] = "http://localhost"

@dataclass
class NotFrozen:
    port: int = 1

class Outer:
    Inner = Db
"""


@pytest.fixture
def module(write: Write, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a settings module importable and the environment empty; return its name."""
    path = write("settings_of_a_test.py", MODULE)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    for name in os.environ:
        if name.startswith(("CRM_", "DB_", "SERVICE_")) or name == "ENVIRONMENT":
            monkeypatch.delenv(name)
    return path.stem


def test_check_says_that_all_is_well(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB__HOST", "db")
    assert main(["check", f"{module}:Settings"]) == 0
    assert capsys.readouterr().out == f"{module}:Settings: all is well\n"


def test_check_reports_every_problem_on_standard_error(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    monkeypatch.setenv("CRM_DB__PORT", "x")
    file = write("s.toml", "[db]\nhots = 1\n")
    status = main(["check", f"{module}:Settings", "--prefix", "CRM", "--file", str(file)])
    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert err.startswith("3 problems with the configuration\n  db.host: missing")


def test_check_takes_every_layer(module: str, write: Write) -> None:
    file = write("s.toml", "[production.db]\nport = 1\n")
    local = write("local.toml", "[db]\nhost = 'x'\n")
    dotenv = write(".env", "CRM_DB__PORT=2\n")
    write("secrets/password", "x")
    layers = ["--prefix", "CRM", "--file", str(file), "--optional-file", str(local), "--env", "prod",
              "--dotenv", str(dotenv), "--secrets-dir", str(dotenv.parent / "secrets")]  # fmt: skip
    assert main(["check", f"{module}:Settings", *layers]) == 0
    assert main(["check", f"{module}:Outer.Inner", *layers, "--at", "db"]) == 0


def test_explain_shows_values_origins_defaults_and_no_secret(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    file = write("s.toml", "[db]\nport = 1\npassword = 'canary'\n")
    monkeypatch.setenv("CRM_DB__PORT", "2")
    monkeypatch.setenv("CRM_DB__PASSWORD", "canary-2")
    layers = ["--prefix", "CRM", "--file", str(file)]
    assert main(["explain", f"{module}:Settings", *layers]) == 0
    out = capsys.readouterr().out
    assert out == (
        "url = 'http://localhost'  (default)\n"
        "db.host: not set\n"
        "db.port = '2'  (CRM_DB__PORT)\n"
        f"  hides 1  ({file}:2)\n"
        "  hides '5432'  (default)\n"
        "db.password = ***  (CRM_DB__PASSWORD)\n"
        f"  hides ***  ({file}:3)\n"
        "  hides ***  (default)\n"
    )
    assert main(["explain", f"{module}:Settings", "DB.port", *layers]) == 0
    assert capsys.readouterr().out == "\n".join(out.split("\n")[2:5]) + "\n"


USAGE = {
    "no class": (["check", "json"], "is not MODULE:CLASS"),
    "no such module": (
        ["check", "no_such_module_here:X"],
        "there is no module no_such_module_here",
    ),
    "no such submodule": (["check", "json.nothing:X"], "there is no module json.nothing"),
    "no such class": (["check", "{module}:Nothing"], "has no Nothing"),
    "no dataclass": (["check", "json:JSONDecoder"], "is not a dataclass"),
    "not a class": (["check", "json:dumps"], "is not a dataclass"),
    "not frozen": (["check", "{module}:NotFrozen"], "must be a frozen dataclass"),
    "file without prefix": (["check", "{module}:Db", "--file", "x"], "--file needs --prefix"),
    "bad prefix": (["check", "{module}:Db", "--prefix", "crm"], "not an upper-case name"),
    "no such key": (["explain", "{module}:Db", "hots"], "has no setting hots"),
}


DEFAULTS = """
from dataclasses import dataclass
from mtenant_config import Secret

@dataclass(frozen=True)
class Tls:
    cert: Secret
    cert_file: str = ""

@dataclass(frozen=True)
class Db:
    host: str
    port: int = 5432
    tls: Tls | None = None

@dataclass(frozen=True)
class Settings:
    db: Db = Db("db.example.com", 6432, Tls(Secret("default-canary")))
"""


def test_the_default_of_a_section_is_the_default_of_its_fields(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("settings_with_a_default.py", DEFAULTS)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setenv("DB__PORT", "7432")
    monkeypatch.setenv("DB__TLS__CERT_FILE", "/no/such/file")
    assert main(["explain", f"{path.stem}:Settings"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "db.host = 'db.example.com'  (default)",
        "db.port = '7432'  (DB__PORT)",
        "  hides '6432'  (default)",
        "db.tls.cert = ***  (default)",
        "db.tls.cert_file = '/no/such/file'  (DB__TLS__CERT_FILE)",
        "  hides ''  (default)",
    ]
    assert main(["template", f"{path.stem}:Settings"]) == 0
    template = capsys.readouterr().out
    assert "# DB__HOST=db.example.com" in template
    assert "default-canary" not in template
    assert "Or the path of a file" not in template


def test_explain_says_why_a_setting_cannot_be_used(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB__PASSWORD", "canary-1")
    monkeypatch.setenv("DB__PASSWORD_FILE", "canary-2")
    assert main(["explain", f"{module}:Settings", "db.password"]) == 0
    shown = capsys.readouterr().out
    assert "(DB__PASSWORD and DB__PASSWORD_FILE are both set; keep one)" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(("arguments", "words"), USAGE.values(), ids=USAGE)
def test_a_wrong_command_is_one_clear_line(
    module: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.replace("{module}", module) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_module_that_cannot_be_imported_is_told_from_one_that_is_not_there(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("needs_more.py", "import no_such_dependency\n")
    write("broken_module.py", "1 / 0\n")
    monkeypatch.syspath_prepend(str(path.parent))
    assert main(["check", "needs_more:X"]) == 2
    assert "no module no_such_dependency, which needs_more imports" in capsys.readouterr().err
    assert main(["check", "broken_module:X"]) == 2
    assert "cannot be imported: ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["explain", "-h"], ["template", "-h"]]
)
def test_help_names_the_exit_status(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "exit status:" in out
    assert "MODULE:CLASS" in out or "COMMAND" in out


def test_it_runs_as_a_module_from_the_working_directory(write: Write) -> None:
    path = write("settings_here.py", MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "mtenant_config", "check", "settings_here:Settings"],
        cwd=path.parent,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "1 problem with the configuration\n"
        "  db.host: missing, expected a string\n"
        "      set DB__HOST\n"
    )


# --- templates ----------------------------------------------------------------------------------


TEN_MIB, TOKEN = ByteSize(10 * 1024**2), Secret("default-canary")


class Level(Enum):
    INFO = "info"


@dataclass(frozen=True)
class Pool:
    size: Annotated[int, Range(1, 100)] = 20
    timeout: timedelta = timedelta(seconds=90)


@dataclass(frozen=True)
class Settings:
    name: str
    url: Annotated[str, Env("DATABASE_URL")] = "postgresql://db/crm?x=1 #y"
    level: Level = Level.INFO
    limit: ByteSize = TEN_MIB
    debug: bool = False
    ratio: float = 0.5
    hosts: tuple[str, ...] = ("a", "b")
    odd: tuple[str, ...] = ("a, b", "")
    none: int | None = None
    path: Path = Path("/var/lib/crm")
    token: Secret = TOKEN
    pool: Pool = field(default_factory=Pool)


def test_the_env_template_is_what_a_person_would_write() -> None:
    text = env_template(Settings, "CRM")
    assert text.startswith("# name: a string; required\nCRM_NAME=\n\n")
    assert "# pool.size: an int from 1 to 100; optional\n# CRM_POOL__SIZE=20\n" in text
    assert '# DATABASE_URL="postgresql://db/crm?x=1 #y"\n' in text
    assert "# Or the path of a file that holds it, in CRM_TOKEN_FILE.\n# CRM_TOKEN=\n" in text
    assert "canary" not in text + toml_template(Settings, "CRM")


def uncommented(text: str, sign: str) -> str:
    """Take the comment sign from every line that sets something."""
    lines = text.replace("CRM_NAME=", "CRM_NAME=x").replace('name = ""', 'name = "x"').split("\n")
    return "\n".join(
        line.removeprefix("# ")
        for line in lines
        if not line.startswith("# ") or (sign in line and ": " not in line.split(sign)[0])
    )


def test_the_defaults_of_a_template_bind_to_the_defaults(write: Write) -> None:
    expected = Settings("x")
    environment = uncommented(env_template(Settings, "CRM"), "=").replace("CRM_NONE=", "")
    environment = environment.replace("CRM_TOKEN=", "CRM_TOKEN=default-canary")
    dotenv = write(".env", environment)
    assert Config.load("CRM", dotenv=dotenv, environ={}).bind(Settings) == expected
    toml = uncommented(toml_template(Settings, "CRM"), " = ").replace('none = ""', "")
    tomllib.loads(toml)
    file = write("s.toml", toml)
    assert Config.load("CRM", files=[file], environ={}).bind(Settings) == expected


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_default_survives_the_templates(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cls: Any = dataclass(frozen=True)(
        type("One", (), {"__annotations__": {"value": str}, "value": text})
    )
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(
        toml_template(cls).replace("# value = ", "value = "), encoding="utf-8", newline=""
    )
    assert Config.load("CRM", files=[file], environ={}).get_str("value") == text
    if "\r" not in text:
        dotenv = tmp_path_factory.getbasetemp() / "any.env"
        dotenv.write_text(
            env_template(cls, "CRM").replace("# CRM_", "CRM_"), encoding="utf-8", newline=""
        )
        assert Config.load("CRM", dotenv=dotenv, environ={}).get_str("value") == text


def test_the_command_prints_templates(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", f"{module}:Settings"]) == 0
    assert "DB__HOST=\n" in capsys.readouterr().out
    assert main(["template", f"{module}:Settings", "--format", "toml", "--prefix", "CRM"]) == 0
    out = capsys.readouterr().out
    assert '[default.db]\n# db.host: a string; required\nhost = ""\n' in out
    assert "set CRM_DB__PASSWORD." in out
    assert "canary" not in out
