"""Settings of a database: where it is, how many connections, how long things may take.

Sets of values that fit a kind of load; the defaults are for a service among others:

| load | DB_MAX_OPEN_CONNS | DB_MAX_IDLE_CONNS | DB_CONN_MAX_LIFETIME | DB_CONN_MAX_IDLE_TIME |
|---|---|---|---|---|
| default | 20 | 5 | 60m | 5m |
| small: one service, one container | 25 | 5 | 5m | 5m |
| production | 50 | 10 | 1h | 15m |
| high traffic, short idle | 50 to 100 | 10 | 1h | 5m to 10m |
| one large program | 100 | 10 | 1h | 30m |
| one large program, high traffic | 200 | 20 | 2h | 1h |
| one large program, low traffic | 50 | 5 | 1h | 30m |

The connections of all processes together stay below the server's max_connections (100 unless it
is set; PostgreSQL manual, 19.3.1).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from psycopg.conninfo import make_conninfo

from mtenant_config import ConfigError, Env, Problem, Range, Secret
from mtenant_config import from_env as bind_env
from mtenant_database.dsn import InvalidDsn, Parameters, parse_dsn

_IDLE: Final = 5
_MOMENT: Final = timedelta(milliseconds=1)
_PREFIX: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
_VARIABLE: Final = re.compile(r"\b(?:DATABASE_URL|DB_[A-Z_]+)")
_PIECES: Final = ("host", "port", "user", "password", "name")

T = TypeVar("T")
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True)
class DatabaseConfig:
    """Where the database is and how it is used; the variable of each setting stands beside it.

    The database is named by `url` alone, or by `name` and the pieces. There is no default database
    name and no default password; a password may also come from PGPASSWORD or a password file
    (PostgreSQL manual, 34.15 and 34.16).

    Attributes:
        url: `postgresql://...`, one host or several, or libpq's `host=... dbname=...`. What it says
            wins over `ssl_mode` and `connect_timeout`. With it, none of the pieces may be set.
        host: localhost by default; a comma-separated list, or the directory of a Unix socket.
        port: 5432 by default.
        user: postgres by default.
        password: as it is, not percent-encoded.
        name: the database; required without a `url`.
        ssl_mode: libpq's sslmode (manual, table 34.1). By default `disable` in development and
            `prefer` elsewhere; `prefer` keeps out nobody who sits between: use `verify-full` on a
            network that is not yours.
        environment: `dev` or `development` is development; anything else, and nothing, is not.
        max_open_conns: the pool's `max_size`.
        max_idle_conns: the pool's `min_size`: connections that are kept open. The default is 5, or
            `max_open_conns` if that is less.
        conn_max_lifetime: a connection is replaced at this age, less up to 5 % at random.
        conn_max_idle_time: how long a connection above `max_idle_conns` may be unused.
        connect_timeout: for one attempt at one host, in whole seconds and 2 at least: that is
            libpq's grain.
        query_timeout: the default statement_timeout of a transaction.
        max_retries: how often the first connection is tried again before opening fails.
        retry_interval: the longest wait between two such attempts.
        slow_query_threshold: a statement that takes longer is logged.
        pooler: `transaction` behind PgBouncer in transaction mode: no startup options, no named
            statements.
        auto_migrate: migrate when the program starts. By default in development only.
        migrate_path: the directory of migrations.

    Raises:
        ValueError: The settings do not fit together, or `url` cannot be read; no part of it is in
            the message.

    >>> config = DatabaseConfig(name="crm", host="db.example.com", password=Secret("hunter2"))
    >>> config.parameters()["sslmode"], config.max_open_conns
    ('prefer', 20)
    """

    url: Annotated[Secret | None, Env("DATABASE_URL")] = None
    host: Annotated[str | None, Env("DB_HOST")] = None
    port: Annotated[int | None, Env("DB_PORT"), Range(1, 65535)] = None
    user: Annotated[str | None, Env("DB_USER")] = None
    password: Annotated[Secret | None, Env("DB_PASSWORD")] = None
    name: Annotated[str | None, Env("DB_NAME")] = None
    ssl_mode: Annotated[SslMode | None, Env("DB_SSL_MODE")] = None
    environment: Annotated[str, Env("ENVIRONMENT")] = ""
    max_open_conns: Annotated[int, Env("DB_MAX_OPEN_CONNS"), Range(1, 262143)] = 20
    max_idle_conns: Annotated[int, Env("DB_MAX_IDLE_CONNS"), Range(0, 262143)] = _IDLE
    conn_max_lifetime: Annotated[timedelta, Env("DB_CONN_MAX_LIFETIME"), Range(_MOMENT)] = (
        timedelta(minutes=60)
    )
    conn_max_idle_time: Annotated[timedelta, Env("DB_CONN_MAX_IDLE_TIME"), Range(_MOMENT)] = (
        timedelta(minutes=5)
    )
    connect_timeout: Annotated[timedelta, Env("DB_CONNECT_TIMEOUT"), Range(_MOMENT)] = timedelta(
        seconds=30
    )
    query_timeout: Annotated[timedelta, Env("DB_QUERY_TIMEOUT"), Range(_MOMENT)] = timedelta(
        seconds=30
    )
    max_retries: Annotated[int, Env("DB_MAX_RETRIES"), Range(0, 1000)] = 5
    retry_interval: Annotated[timedelta, Env("DB_RETRY_INTERVAL"), Range(_MOMENT)] = timedelta(
        seconds=10
    )
    slow_query_threshold: Annotated[
        timedelta, Env("DB_SLOW_QUERY_THRESHOLD"), Range(timedelta(0))
    ] = timedelta(milliseconds=500)
    pooler: Annotated[Literal["none", "transaction"], Env("DB_POOLER")] = "none"
    auto_migrate: Annotated[bool | None, Env("DB_AUTO_MIGRATE")] = None
    migrate_path: Annotated[Path, Env("DB_MIGRATE_PATH")] = Path("migrations")

    def __post_init__(self) -> None:
        for setting in ("url", "password"):
            if not isinstance(getattr(self, setting), Secret | None):
                # A bare string would show itself in the repr.
                raise TypeError(f"{setting} must be a Secret: Secret('...')")
        problems = [*_problems_of_target(self), *_problems_of_sizes(self)]
        if problems:
            raise ValueError("; ".join(problems))
        if self.max_idle_conns == _IDLE:
            object.__setattr__(self, "max_idle_conns", min(_IDLE, self.max_open_conns))
        if self.auto_migrate is None:
            object.__setattr__(self, "auto_migrate", self.is_development)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, *, prefix: str | None = None
    ) -> DatabaseConfig:
        """Read the settings from environment variables; `X_FILE` names a file that holds `X`.

        An empty variable counts as not set where it names the database.

        Args:
            environ: Variables and their values.
            prefix: What the variables begin with, for a second database: with `REPORTS`,
                `REPORTS_DATABASE_URL` or `REPORTS_DB_*`. ENVIRONMENT is the program's, and has none.

        Raises:
            ConfigError: With everything that is wrong, and no part of a password.
            ValueError: The prefix is no upper-case name.
        """
        if prefix is not None:
            return _from_env_with(prefix, environ)
        try:
            return bind_env(cls, environ=environ)
        except ConfigError as error:
            problems = [problem for problem in error.problems if problem.key != cls.__name__]
        # A class compares its fields only when each could be read, but whoever sets up a program
        # wants to hear of everything at once: the parts are asked by themselves.
        target, sizes = _read(_Target, environ), _read(_Sizes, environ)
        del environ  # error trackers record the local variables of what raises
        unfit = [
            *(_problems_of_target(target) if target else ()),
            *(_problems_of_sizes(sizes) if sizes else ()),
        ]
        problems += [Problem(cls.__name__, "conflict", what) for what in unfit]
        raise ConfigError(problems)

    @property
    def is_development(self) -> bool:
        """Whether `environment` is `dev` or `development`."""
        return self.environment.strip().lower() in {"dev", "development"}

    def parameters(self) -> Parameters:
        """Return libpq's parameters without the password: safe to log."""
        parameters = self._all_parameters()
        parameters.pop("password", None)
        return parameters

    def conninfo(self) -> str:
        """Return the connection string for `psycopg.connect`, with the password: never log it."""
        return make_conninfo(**self._all_parameters())

    def _all_parameters(self) -> Parameters:
        if self.url:
            parameters = parse_dsn(self.url.reveal())
        else:
            parameters = {
                "host": self.host or "localhost",
                "port": str(self.port or 5432),
                "user": self.user or "postgres",
                "dbname": self.name or "",
            }
            if self.password:
                parameters["password"] = self.password.reveal()
        usual = "disable" if self.is_development else "prefer"
        parameters.setdefault("sslmode", self.ssl_mode or usual)
        seconds = max(2, math.ceil(self.connect_timeout.total_seconds()))
        parameters.setdefault("connect_timeout", str(seconds))
        return parameters


def _from_env_with(prefix: str, environ: Mapping[str, str]) -> DatabaseConfig:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"the prefix {prefix!r} is not an upper-case name such as 'REPORTS'")
    start = f"{prefix}_"
    own = {name.removeprefix(start): environ[name] for name in environ if name.startswith(start)}
    if "ENVIRONMENT" in environ:
        own["ENVIRONMENT"] = environ["ENVIRONMENT"]
    del environ  # error trackers record the local variables of what raises
    try:
        return DatabaseConfig.from_env(own)
    except ConfigError as error:
        problems = error.problems
    finally:
        del own
    raise ConfigError([_named(problem, start) for problem in problems])


def _named(problem: Problem, start: str) -> Problem:
    """Return a problem under the names that the variables have outside."""

    def outside(text: str | None) -> str | None:
        return text and _VARIABLE.sub(rf"{start}\g<0>", text)

    return replace(
        problem,
        key=outside(problem.key) or "",
        message=outside(problem.message) or "",
        origin=outside(problem.origin),
        suggestion=outside(problem.suggestion),
    )


@dataclass(frozen=True)
class _Target:
    """The settings that name the database, as text: never wrong by themselves."""

    url: Annotated[Secret | None, Env("DATABASE_URL")] = None
    host: Annotated[str | None, Env("DB_HOST")] = None
    port: Annotated[str | None, Env("DB_PORT")] = None
    user: Annotated[str | None, Env("DB_USER")] = None
    password: Annotated[Secret | None, Env("DB_PASSWORD")] = None
    name: Annotated[str | None, Env("DB_NAME")] = None


@dataclass(frozen=True)
class _Sizes:
    """The settings of the pool's size."""

    max_open_conns: Annotated[int, Env("DB_MAX_OPEN_CONNS")] = 20
    max_idle_conns: Annotated[int, Env("DB_MAX_IDLE_CONNS")] = _IDLE


def _read(part: type[T], environ: Mapping[str, str]) -> T | None:
    try:
        return bind_env(part, environ=environ)
    except ConfigError:  # what is wrong with a field by itself is known already
        return None


def _problems_of_target(target: DatabaseConfig | _Target) -> list[str]:
    if not target.url:
        return [] if target.name else ["set DATABASE_URL, or DB_NAME: there is no default database"]
    problems = []
    pieces = [f"DB_{piece.upper()}" for piece in _PIECES if getattr(target, piece)]
    if pieces:
        problems.append(f"DATABASE_URL and {', '.join(pieces)} are both set: keep one way")
    try:
        parse_dsn(target.url.reveal())
    except InvalidDsn as error:
        problems.append(f"DATABASE_URL {error}")
    return problems


def _problems_of_sizes(sizes: DatabaseConfig | _Sizes) -> list[str]:
    idle, most = sizes.max_idle_conns, sizes.max_open_conns
    # The default of one is no contradiction to a small value of the other.
    if idle <= most or idle == _IDLE:
        return []
    return [f"DB_MAX_IDLE_CONNS is {idle}, more than DB_MAX_OPEN_CONNS, {most}"]
