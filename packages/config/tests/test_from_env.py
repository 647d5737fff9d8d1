"""Binding from variables alone, as the other packages do it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import pytest

from mtenant_config import Config, ConfigError, Env, Range, Secret, from_env


@dataclass(frozen=True)
class Database:
    url: Annotated[str | None, Env("DATABASE_URL")] = None
    host: Annotated[str | None, Env("DB_HOST")] = None
    password: Annotated[Secret | None, Env("DB_PASSWORD")] = None
    max_open: Annotated[int, Env("DB_MAX_OPEN_CONNS"), Range(1, 1000)] = 20
    lifetime: Annotated[timedelta, Env("DB_CONN_MAX_LIFETIME")] = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.url and self.host:
            raise ValueError("DATABASE_URL and DB_HOST are both set; keep one")


@dataclass(frozen=True)
class Service:
    name: str
    db: Database = Database()


def test_fields_are_read_from_the_variables_that_they_name() -> None:
    environ = {"DB_HOST": "db", "DB_MAX_OPEN_CONNS": "50", "DB_CONN_MAX_LIFETIME": "15m"}
    assert from_env(Database, environ=environ) == Database(
        host="db", max_open=50, lifetime=timedelta(minutes=15)
    )


def test_a_prefix_does_not_change_what_env_names() -> None:
    bound = from_env(Service, prefix="CRM", environ={"CRM_NAME": "x", "DB_HOST": "db"})
    assert bound == Service("x", Database(host="db"))


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "from the process")
    assert from_env(Database).host == "from the process"


def test_a_prefix_is_an_upper_case_name() -> None:
    with pytest.raises(ValueError, match="upper-case name"):
        from_env(Database, prefix="crm", environ={})


def test_problems_name_the_variables() -> None:
    environ = {"DB_MAX_OPEN_CONNS": "1001", "DB_CONN_MAX_LIFETIME": "60"}
    with pytest.raises(ConfigError) as caught:
        from_env(Database, environ=environ)
    assert str(caught.value) == (
        "2 problems with the configuration\n"
        "  max_open: expected an int from 1 to 1000, got '1001'\n"
        "      at DB_MAX_OPEN_CONNS\n"
        "  lifetime: expected a duration such as '30s', '5m' or '1h30m', got '60'\n"
        "      at DB_CONN_MAX_LIFETIME\n"
        "      did you mean '60s'?"
    )


def test_a_check_across_fields_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL and DB_HOST are both set") as caught:
        from_env(Database, environ={"DATABASE_URL": "postgresql://db", "DB_HOST": "db"})
    assert caught.value.problems[0].key == "Database"


def test_x_file_names_the_file_that_holds_x(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2\n\n")
    bound = from_env(Database, environ={"DB_PASSWORD_FILE": str(path)})
    assert bound.password == Secret("hunter2\n")


def test_x_and_x_file_together_are_a_problem_that_shows_neither(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("canary")
    with pytest.raises(ConfigError) as caught:
        from_env(Database, environ={"DB_PASSWORD": "canary", "DB_PASSWORD_FILE": str(path)})
    (problem,) = caught.value.problems
    assert (problem.key, problem.kind) == ("password", "conflict")
    assert problem.message == "DB_PASSWORD and DB_PASSWORD_FILE are both set; keep one"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "its file cannot be read (No such file or directory)"),
        (b"canary\xff", "its file is not UTF-8 text"),
        (b"c" * (1024 * 1024 + 1), "its file is larger than 1 MiB"),
    ],
    ids=["absent", "bytes", "large"],
)
def test_a_secret_file_that_cannot_be_used_is_a_problem(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        from_env(Database, environ={"DB_PASSWORD_FILE": str(path)})
    (problem,) = caught.value.problems
    assert (problem.message, problem.origin, problem.kind) == (
        reason,
        "DB_PASSWORD_FILE",
        "unreadable",
    )


@pytest.mark.parametrize(
    ("path", "reason"), [("", "names no file"), ("a\0b", "its file cannot be read (not a path)")]
)
def test_a_reference_that_is_no_path_is_a_problem(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="password") as caught:
        from_env(Database, environ={"DB_PASSWORD_FILE": path})
    assert caught.value.problems[0].message == reason


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_newline_at_the_end_of_a_secret_file_does_not_count(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / "password"
    path.write_bytes(b" hunter2 " + ending.encode())
    bound = from_env(Database, environ={"DB_PASSWORD_FILE": str(path)})
    assert bound.password == Secret(" hunter2 ")


@dataclass(frozen=True)
class Tls:
    cert: str = ""
    cert_file: Path | None = None


def test_a_field_that_ends_in_file_owns_its_variable() -> None:
    environ = {"CERT_FILE": "/no/such/file"}
    assert from_env(Tls, environ=environ) == Tls("", Path("/no/such/file"))
    prefixed = {f"CRM_{name}": text for name, text in environ.items()}
    assert from_env(Tls, prefix="CRM", environ=prefixed) == Tls("", Path("/no/such/file"))
    config = Config.load("CRM", environ={**prefixed, "CRM_CERT": "text"})
    assert config.bind(Tls) == Tls("text", Path("/no/such/file"))
    assert str(config.explain("cert")) == "cert = 'text'  (CRM_CERT)"


@dataclass(frozen=True)
class Log:
    level: str = "info"


@dataclass(frozen=True)
class Logs:
    log: Log = Log()


def test_a_file_variable_named_like_a_section_is_no_part_of_it() -> None:
    environ = {"CRM_LOG_FILE": "/dev/full", "CRM_LOG__LEVEL": "debug"}
    config = Config.load("CRM", environ=environ)
    assert config.bind(Logs) == Logs(Log("debug"))
    assert config.get_str("log_file") == "/dev/full"
    assert not config.is_set("log")


def test_a_referenced_file_is_not_touched_before_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "late"
    config = Config.load("CRM", environ={"CRM_PASSWORD_FILE": str(path)})
    path.write_text("written later")
    assert config.get_secret("password").reveal() == "written later"
    path.write_text("changed")
    assert config.get_str("password") == "written later"


def test_bytes_that_are_no_utf8_are_a_problem_that_names_the_variable_only() -> None:
    smuggled = b"canary\xff".decode("utf-8", "surrogateescape")
    environ = {"DB_HOST": smuggled, "CRM_X": smuggled, "DB_PASSWORD_FILE": smuggled}
    with pytest.raises(ConfigError) as caught:
        from_env(Database, environ=environ)
    assert [(p.message, p.origin) for p in caught.value.problems] == [
        ("is not UTF-8 text", "DB_HOST"),
        ("is not UTF-8 text", "DB_PASSWORD_FILE"),
    ]
    assert "canary" not in str(caught.value)
    config = Config.load("CRM", environ=environ)
    for read in (config.get, config.get_str, config.get_secret, lambda key: config.validate([key])):
        with pytest.raises(ConfigError, match="not UTF-8") as caught:
            read("x")
        assert "canary" not in str(caught.value)


def test_env_names_are_read_by_a_config_too_below_its_own_variables(tmp_path: Path) -> None:
    file, dotenv, secrets = tmp_path / "s.toml", tmp_path / ".env", tmp_path / "secrets"
    file.write_text("[db]\nhost = 'file'\n")
    dotenv.write_text("DB_HOST=dotenv\n")
    secrets.mkdir()

    def host(environ: dict[str, str]) -> str | None:
        config = Config.load(
            "CRM", files=[file], dotenv=dotenv, secrets_dir=secrets, environ=environ
        )
        bound = config.bind(Database, at="db")
        assert config.explain("db.host").value in (f"'{bound.host}'", "***")
        assert "db.host" in {line["key"] for line in config.report()}
        return bound.host

    assert host({}) == "dotenv"
    assert host({"DB_HOST": "named"}) == "named"
    assert host({"DB_HOST": "named", "CRM_DB__HOST": "ours"}) == "ours"
    (secrets / "db_host").write_text("secret")
    assert host({"DB_HOST": "named", "CRM_DB__HOST": "ours"}) == "secret"


@pytest.mark.parametrize(
    "name", ["crm_db__password", "CRM_DB__PASSWORD", "db__password", "db.password", "DB_PASSWORD"]
)
def test_a_file_of_a_secrets_directory_is_found_by_the_variables_name(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("hunter2\n")
    (tmp_path / "..data").mkdir()
    bound = Config.load("CRM", secrets_dir=tmp_path, environ={}).bind(Database, at="db")
    assert bound.password == Secret("hunter2")


def test_a_secret_file_with_the_prefix_wins_over_its_twin_without(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("without")
    (tmp_path / "crm_token").write_text("with")
    assert Config.load("CRM", secrets_dir=tmp_path, environ={}).get_str("token") == "with"


def test_a_secrets_directory_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(ConfigError, match="cannot be listed"):
        Config.load("CRM", secrets_dir=path, environ={})


def test_x_file_of_a_dotenv_file_ranks_as_that_file_does(tmp_path: Path) -> None:
    secret, dotenv = tmp_path / "token", tmp_path / ".env"
    secret.write_text("from the file")
    dotenv.write_text(f"CRM_TOKEN_FILE={secret}\nCRM_PLAIN_FILE={secret}\n")
    config = Config.load("CRM", dotenv=dotenv, environ={})
    assert config.get_str("token") == config.get_str("plain") == "from the file"
    assert config.explain("plain").value == "***"
    environ = {"CRM_TOKEN": "from the process"}
    assert Config.load("CRM", dotenv=dotenv, environ=environ).get_str("token") == "from the process"


def test_overrides_hide_a_secret_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("file")
    config = Config.load("CRM", secrets_dir=tmp_path, overrides={"token": "mine"}, environ={})
    assert config.get_str("token") == "mine"
