from __future__ import annotations

import re
import socket
import string
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from mtenant_config import Config, ConfigError, Secret
from mtenant_database.config import DatabaseConfig

URL = "postgresql://crm:hunter2@db.example.com:5433/crm"


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses: it is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def read(**environ: str) -> DatabaseConfig:
    return DatabaseConfig.from_env(environ)


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        DatabaseConfig.from_env(environ)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def libpq(config: DatabaseConfig) -> dict[str, Any]:
    return dict(conninfo_to_dict(config.conninfo()))


def test_a_database_name_is_all_that_must_be_set() -> None:
    config = read(DB_NAME="crm")
    assert config == DatabaseConfig(name="crm")
    assert libpq(config) == {
        "host": "localhost",
        "port": "5432",
        "user": "postgres",
        "dbname": "crm",
        "sslmode": "prefer",
        "connect_timeout": "30",
    }
    assert (config.max_open_conns, config.max_idle_conns) == (20, 5)
    assert config.conn_max_lifetime == timedelta(minutes=60)
    assert config.conn_max_idle_time == timedelta(minutes=5)
    assert config.query_timeout == timedelta(seconds=30)
    assert (config.max_retries, config.retry_interval) == (5, timedelta(seconds=10))
    assert config.slow_query_threshold == timedelta(milliseconds=500)
    assert (config.pooler, config.migrate_path) == ("none", Path("migrations"))


def test_every_setting_has_its_variable() -> None:
    config = read(
        DB_HOST="db.example.com",
        DB_PORT="5433",
        DB_USER="crm",
        DB_PASSWORD="p w'd\\",
        DB_NAME="crm",
        DB_SSL_MODE="require",
        DB_MAX_OPEN_CONNS="50",
        DB_MAX_IDLE_CONNS="10",
        DB_CONN_MAX_LIFETIME="1h",
        DB_CONN_MAX_IDLE_TIME="15m",
        DB_AUTO_MIGRATE="true",
        DB_MIGRATE_PATH="db/migrations",
        DB_CONNECT_TIMEOUT="10s",
        DB_QUERY_TIMEOUT="20s",
        DB_MAX_RETRIES="7",
        DB_RETRY_INTERVAL="3s",
        DB_SLOW_QUERY_THRESHOLD="1s",
        DB_POOLER="transaction",
    )
    assert config == DatabaseConfig(
        host="db.example.com",
        port=5433,
        user="crm",
        password=Secret("p w'd\\"),
        name="crm",
        ssl_mode="require",
        max_open_conns=50,
        max_idle_conns=10,
        conn_max_lifetime=timedelta(hours=1),
        conn_max_idle_time=timedelta(minutes=15),
        auto_migrate=True,
        migrate_path=Path("db/migrations"),
        connect_timeout=timedelta(seconds=10),
        query_timeout=timedelta(seconds=20),
        max_retries=7,
        retry_interval=timedelta(seconds=3),
        slow_query_threshold=timedelta(seconds=1),
        pooler="transaction",
    )
    assert libpq(config)["password"] == "p w'd\\"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_url_says_where_the_database_is(scheme: str) -> None:
    config = read(DATABASE_URL=f"{scheme}://crm:p%40ss%2Fw%25rd@db.example.com:5433/crm")
    assert libpq(config) == {
        "host": "db.example.com",
        "port": "5433",
        "user": "crm",
        "password": "p@ss/w%rd",
        "dbname": "crm",
        "sslmode": "prefer",
        "connect_timeout": "30",
    }


def test_key_value_pairs_are_a_url_too() -> None:
    config = read(DATABASE_URL="host=db.example.com dbname=crm password='a b'")
    assert libpq(config) == {
        "host": "db.example.com",
        "dbname": "crm",
        "password": "a b",
        "sslmode": "prefer",
        "connect_timeout": "30",
    }


def test_several_hosts_and_the_kind_of_session_reach_libpq() -> None:
    config = read(DATABASE_URL="postgresql://crm@a:5432,b:5433/crm?target_session_attrs=read-write")
    assert libpq(config) | {"host": "a,b", "port": "5432,5433"} == libpq(config)
    assert libpq(config)["target_session_attrs"] == "read-write"


def test_a_dead_host_of_several_is_passed_over(postgres_dsn: str, dead_port: int) -> None:
    server = urlsplit(postgres_dsn)
    hosts = f"127.0.0.1:{dead_port},{server.hostname}:{server.port}"
    url = f"postgresql://{server.username}@{hosts}/postgres?target_session_attrs=read-write"
    with psycopg.connect(read(DATABASE_URL=url).conninfo()) as conn:
        assert conn.info.port == server.port


@pytest.mark.parametrize(
    ("environment", "mode"),
    [("dev", "disable"), ("Development", "disable"), ("production", "prefer"), ("", "prefer")],
)
def test_tls_is_off_in_development_only(environment: str, mode: str) -> None:
    assert libpq(read(DB_NAME="crm", ENVIRONMENT=environment))["sslmode"] == mode


def test_the_mode_of_the_url_wins_and_that_of_the_variable_wins_over_the_default() -> None:
    environ = {"DATABASE_URL": URL, "ENVIRONMENT": "dev", "DB_SSL_MODE": "require"}
    assert libpq(read(**environ))["sslmode"] == "require"
    environ["DATABASE_URL"] += "?sslmode=verify-full&connect_timeout=3"
    assert libpq(read(**environ))["sslmode"] == "verify-full"
    assert libpq(read(**environ))["connect_timeout"] == "3"


def test_migrating_at_the_start_is_for_development_unless_it_is_asked_for() -> None:
    assert read(DB_NAME="crm", ENVIRONMENT="dev").auto_migrate is True
    assert read(DB_NAME="crm").auto_migrate is False
    assert read(DB_NAME="crm", ENVIRONMENT="dev", DB_AUTO_MIGRATE="false").auto_migrate is False
    assert read(DB_NAME="crm", DB_AUTO_MIGRATE="true").auto_migrate is True


def test_fewer_connections_than_the_idle_default_are_all_kept() -> None:
    assert read(DB_NAME="crm", DB_MAX_OPEN_CONNS="3").max_idle_conns == 3


def test_the_timeout_is_whole_seconds_and_at_least_two() -> None:
    assert libpq(read(DB_NAME="crm", DB_CONNECT_TIMEOUT="100ms"))["connect_timeout"] == "2"
    assert libpq(read(DB_NAME="crm", DB_CONNECT_TIMEOUT="2500ms"))["connect_timeout"] == "3"


def test_everything_that_is_wrong_is_in_one_error() -> None:
    report = refused(
        DATABASE_URL="postgresql://crm:hunt@er2@db.example.com/crm",
        DB_HOST="db.example.com",
        DB_PORT="54321234",
        DB_MAX_OPEN_CONNS="10",
        DB_MAX_IDLE_CONNS="20",
        DB_CONN_MAX_LIFETIME="60",
        DB_SSL_MODE="requires",
        DB_POOLER="statement",
        DB_AUTO_MIGRATE="maybe",
    )
    for named in (
        "DB_PORT",
        "DB_CONN_MAX_LIFETIME",
        "DB_SSL_MODE",
        "DB_POOLER",
        "DB_AUTO_MIGRATE",
        "DATABASE_URL and DB_HOST",
        "DB_MAX_IDLE_CONNS is 20, more than DB_MAX_OPEN_CONNS, 10",
        "DATABASE_URL has an @ in the wrong place",
    ):
        assert named in report
    assert "hunt" not in report
    assert "er2" not in report


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://crm:hunter2@db.example.com", "names no database"),
        ("postgresql://crm:hunter2@db.example.com/", "names no database"),
        ("postgresql://crm:hunt@er2@db.example.com/crm", "@ in the wrong place"),
        ("postgresql://crm:hunt/er2@db.example.com/crm", "@ in the wrong place"),
        ("postgresql://crm:hunter2@db.example.com:port/crm", "a port that is no number"),
        ("postgresql://crm:hunter2@db.example.com:0/crm", "a port that is no number"),
        ("postgresql://crm:hunter2@a:1,b:2,c/crm?port=1,2", "more than one port"),
        ("postgresql://crm:%zzhunter2@db.example.com/crm", "cannot be read"),
        ("postgresql://crm:hunter2@db.example.com/crm?ssl_mode=require", "did you mean sslmode?"),
        ("postgresql://crm:hunter2@db.example.com/crm?wholly=unlike", "libpq does not know"),
        ("postgresql://crm:hunter2@db.example.com/crm?sslmode=on", "unknown sslmode"),
        ("postgresql://crm:hunter2@h/crm?target_session_attrs=rw", "unknown target_session_attrs"),
        ("postgresql://crm:hunter2@h/crm?connect_timeout=soon", "no whole number"),
        ("postgresql+asyncpg://crm:hunter2@db.example.com/crm", "no driver"),
        ("POSTGRESQL://crm:hunter2@db.example.com/crm", "no driver"),
        ("mysql://crm:hunter2@db.example.com/crm", "is no PostgreSQL URL"),
        ("hunter2", "neither a URL nor key=value pairs"),
        ("host=db password=hunter2 x", "neither a URL nor key=value pairs"),
    ],
)
def test_a_malformed_url_is_refused_without_repeating_it(url: str, reason: str) -> None:
    report = refused(DATABASE_URL=url)
    assert reason in report
    assert "hunt" not in report
    assert "er2" not in report


def test_no_frame_of_the_error_has_the_password() -> None:
    with pytest.raises(ConfigError) as caught:
        DatabaseConfig.from_env({"DATABASE_URL": URL, "DB_HOST": "x", "DB_PORT": "x"})
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename != __file__]
    assert ours
    assert "hunter2" not in f"{[frame.f_locals for frame in ours]}"


def test_a_url_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        DatabaseConfig(url=Secret("postgresql://crm:hunter2@db.example.com/crm\udcff"))


def test_nothing_set_is_a_missing_database_name() -> None:
    assert "set DATABASE_URL, or DB_NAME" in refused()


def test_a_piece_beside_the_url_would_be_ignored_and_is_refused() -> None:
    for piece in ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"):
        report = refused(**{"DATABASE_URL": URL, piece: "5432"})
        assert f"DATABASE_URL and {piece} are both set" in report


def test_an_empty_variable_is_not_set() -> None:
    config = read(DATABASE_URL=URL, DB_HOST="", DB_USER="", DB_PASSWORD="", DB_NAME="")
    assert libpq(config)["host"] == "db.example.com"
    assert libpq(read(DATABASE_URL="", DB_NAME="crm"))["dbname"] == "crm"


def test_a_password_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    config = read(DB_NAME="crm", DB_PASSWORD_FILE=str(tmp_path / "password"))
    assert libpq(config)["password"] == "hunter2"


def test_the_password_is_in_the_connection_string_only() -> None:
    for config in (read(DATABASE_URL=URL), read(DB_NAME="crm", DB_PASSWORD="hunter2")):
        assert "hunter2" in config.conninfo()
        assert "hunter2" not in f"{config!r} {config} {config.parameters()}"


def test_a_bare_password_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError, match="must be a Secret"):
        DatabaseConfig(name="crm", password="hunter2")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="must be a Secret"):
        DatabaseConfig(url=URL)  # type: ignore[arg-type]  # that is the test


def test_settings_made_by_hand_follow_the_same_rules() -> None:
    with pytest.raises(ValueError, match=r"DATABASE_URL and DB_HOST.*DB_MAX_IDLE_CONNS is 30"):
        DatabaseConfig(url=Secret(URL), host="x", max_idle_conns=30)
    config = replace(DatabaseConfig(url=Secret(URL)), max_open_conns=50)
    assert config.max_open_conns == 50


def test_files_give_the_settings_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[default.db]\nname = "crm"\nmax_open_conns = 50\nconn_max_lifetime = "2h"\n')
    config = Config.load("CRM", files=[file], environ={}).bind(DatabaseConfig, at="db")
    assert (config.name, config.max_open_conns) == ("crm", 50)
    assert config.conn_max_lifetime == timedelta(hours=2)


# No piece is a word of a message.
_PIECE = st.text(string.ascii_letters + string.digits, max_size=9).map("Zq9".__add__)
_PASSWORD = st.tuples(_PIECE, st.sampled_from("@:/?#%[]&=' \\\"éß"), _PIECE)


@given(_PASSWORD)
def test_any_password_survives_a_url_that_encodes_it(parts: tuple[str, str, str]) -> None:
    password = "".join(parts)
    url = f"postgresql://crm:{quote(password, safe='')}@db.example.com/crm"
    assert libpq(read(DATABASE_URL=url))["password"] == password
    assert libpq(read(DB_NAME="crm", DB_PASSWORD=password))["password"] == password


@given(_PASSWORD)
def test_a_password_that_is_not_encoded_is_used_or_refused_and_never_shown(
    parts: tuple[str, str, str],
) -> None:
    password = "".join(parts)
    url = f"postgresql://crm:{password}@db.example.com/crm"
    try:
        config = read(DATABASE_URL=url)
    except ConfigError as error:
        shown = f"{error} {error!r} {error.internal}"
    else:
        # libpq may have understood %41; it must not have taken a part for a host or a database.
        assert libpq(config)["host"] == "db.example.com"
        assert libpq(config)["dbname"] == "crm"
        shown = f"{config!r} {config.parameters()}"
    assert not re.search(f"{parts[0]}|{parts[2]}", shown)
