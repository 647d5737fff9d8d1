"""Settings that every service has: where things are, who is trusted, what is too much."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from mtenant_config import ByteSize, ConfigError, Env, Problem, Range, Secret
from mtenant_config import from_env as bind_env
from mtenant_database import DatabaseConfig
from mtenant_database.migrate.settings import MigrateSettings

_DEVELOPMENT: Final = frozenset({"dev", "development"})
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MOMENT: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """Whose tokens are believed.

    Attributes:
        issuer: The `iss` that a token must have (RFC 9068, 4).
        audience: The `aud` of tokens for people; a service accepts tokens for its own name besides.
        validation: `local`: signatures are checked here, by the keys of auth-service. `remote`:
            auth-service is asked about every token, which costs a call a request, and a token
            that was revoked is refused at once.
        client_secret: With which this service gets tokens of its own from auth-service.
    """

    issuer: Annotated[str, Env("AUTH_ISSUER")] = "mtenant-auth"
    audience: Annotated[str, Env("AUTH_AUDIENCE")] = "mtenant"
    validation: Annotated[Literal["local", "remote"], Env("AUTH_VALIDATION")] = "local"
    client_secret: Annotated[Secret | None, Env("SERVICE_CLIENT_SECRET")] = None


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """How mail leaves.

    Attributes:
        smtp_host: The server that takes it; without one and without a directory mails wait.
        smtp_port: 587 is the port of submission (RFC 6409).
        smtp_start_tls: Whether to insist on STARTTLS before anything is said.
        smtp_user: Who logs in, if anybody.
        smtp_password: With what.
        sender: The From address.
        directory: Where mails are written as files instead of being sent; for development.
    """

    smtp_host: Annotated[str | None, Env("SMTP_HOST")] = None
    smtp_port: Annotated[int, Env("SMTP_PORT"), Range(1, 65535)] = 587
    smtp_start_tls: Annotated[bool, Env("SMTP_START_TLS")] = True
    smtp_user: Annotated[str | None, Env("SMTP_USER")] = None
    smtp_password: Annotated[Secret | None, Env("SMTP_PASSWORD")] = None
    sender: Annotated[str, Env("MAIL_FROM")] = "no-reply@example.com"
    directory: Annotated[str | None, Env("MAIL_DIRECTORY")] = None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the environment says, alike for every service.

    Attributes:
        database: Where PostgreSQL is; see `DatabaseConfig`.
        environment: `dev` or `development` relaxes what only a laptop may relax.
        host: Where to listen; 0.0.0.0 in images.
        port: Where to listen; 0 lets the system choose.
        nats_url: Where events go; without it they wait in the outbox.
        redis_url: The cache that processes share; without it each has its own.
        migrate: By which roles migrations run.
        auth: Whose tokens are believed.
        mail: How mail leaves.
        max_body: The largest request body in bytes, unless a route says otherwise.
        drain_delay: How long `/ready` says 503 after SIGTERM before the listening socket closes, so
            that a load balancer has noticed. None: 5 s, and 0 in development.
        shutdown_timeout: How long running requests may take after that.
        ops_token: Opens `/metrics`, `/health/detailed` and `/health/database`, which tell a lot, as a
            bearer token. In development they are open; elsewhere without it, closed.
    """

    database: DatabaseConfig
    environment: Annotated[str, Env("ENVIRONMENT")] = ""
    host: Annotated[str, Env("HOST")] = "127.0.0.1"
    port: Annotated[int | None, Env("PORT"), Range(0, 65535)] = None
    nats_url: Annotated[Secret | None, Env("NATS_URL")] = None
    redis_url: Annotated[Secret | None, Env("REDIS_URL")] = None
    migrate: MigrateSettings = field(default_factory=MigrateSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    mail: MailSettings = field(default_factory=MailSettings)
    max_body: Annotated[ByteSize, Env("MAX_BODY")] = ByteSize(1024 * 1024)
    drain_delay: Annotated[timedelta | None, Env("DRAIN_DELAY"), Range(timedelta(0))] = None
    shutdown_timeout: Annotated[timedelta, Env("SHUTDOWN_TIMEOUT"), Range(_MOMENT)] = timedelta(
        seconds=20
    )
    ops_token: Annotated[Secret | None, Env("OPS_TOKEN")] = None

    @property
    def is_development(self) -> bool:
        """Whether this is a laptop."""
        return self.environment.strip().lower() in _DEVELOPMENT

    @property
    def seconds_of_drain(self) -> float:
        """How long `/ready` says 503 before the listening socket closes."""
        if self.drain_delay is not None:
            return self.drain_delay.total_seconds()
        return 0.0 if self.is_development else 5.0


@dataclass(frozen=True, kw_only=True)
class Settings(Surroundings):
    """What an app is made from: what the environment says, and what the program is.

    Attributes:
        service: The service's name, such as `contact-service`.
        version: What `/health` and OpenAPI say.
        services: The base URL of each service that this one calls, by its name.
    """

    service: str
    version: str = "0"
    services: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.service):
            raise ValueError(f"a service is named like contact-service, not {self.service!r}")

    @property
    def component(self) -> str:
        """The service's name in migrations and events: `contact-service` is `contact`."""
        return self.service.removesuffix("-service").replace("-", "_")

    @classmethod
    def from_env(
        cls,
        service: str,
        *,
        port: int,
        version: str = "0",
        calls: Iterable[str] = ("auth-service",),
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Read the settings of a service from environment variables.

        Args:
            service: Its name.
            port: Where it listens without `PORT`.
            version: Its version.
            calls: The services whose URLs it needs: that of `auth-service` is read from
                `AUTH_SERVICE_URL`, and so on. Each of them must be there.
            environ: The variables.

        Raises:
            ConfigError: With every problem.
        """
        problems: list[Problem] = []
        urls: dict[str, str] = {}
        for name in calls:
            variable = f"{name.upper().replace('-', '_')}_URL"
            if url := environ.get(variable):
                urls[name] = url.rstrip("/")
            else:
                missing = f"missing, expected the URL of {name}, which {service} calls"
                problems.append(Problem(variable, "missing", missing))
        try:
            said = bind_env(Surroundings, environ=environ)
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        finally:
            del environ  # error trackers record the local variables of what raises
        if problems:
            raise ConfigError(problems)
        chosen = {one.name: getattr(said, one.name) for one in fields(said)}
        if said.port is None:
            chosen["port"] = port
        return cls(**chosen, service=service, version=version, services=urls)
