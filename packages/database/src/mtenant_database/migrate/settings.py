"""How migrations run: under which role, how long they wait, how often they try again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Self

from mtenant_config import Env, Range, from_env


@dataclass(frozen=True, kw_only=True)
class MigrateSettings:
    """How migrations run.

    Attributes:
        owner: The role that owns the schemas, taken by `SET LOCAL ROLE`; None for the role that
            connects. Never a superuser.
        app: The role of the application, which is granted DML and nothing else; None if it is the
            owner itself.
        lock_timeout: How long a statement waits for a lock before the file is rolled back and tried
            again. Short, because whoever waits for a lock lets nobody else pass (manual, 13.3).
        statement_timeout: How long a statement may take; None for what the server says.
        lock_wait: How long to wait for another process that migrates the same schema.
        pg_dump: The program that dumps a tenant's schema; looked for on PATH if it is no path.
        attempts: How often a file is tried that failed by a lock, a deadlock or a serialization.
    """

    owner: Annotated[str | None, Env("DB_OWNER_ROLE")] = None
    app: Annotated[str | None, Env("DB_APP_ROLE")] = None
    lock_timeout: Annotated[timedelta, Env("DB_MIGRATE_LOCK_TIMEOUT")] = timedelta(seconds=3)
    statement_timeout: Annotated[timedelta | None, Env("DB_MIGRATE_STATEMENT_TIMEOUT")] = None
    lock_wait: Annotated[timedelta, Env("DB_MIGRATE_LOCK_WAIT")] = timedelta(seconds=15)
    pg_dump: Annotated[str, Env("PG_DUMP")] = "pg_dump"
    attempts: Annotated[int, Env("DB_MIGRATE_ATTEMPTS"), Range(1, 100)] = 8

    def __post_init__(self) -> None:
        for name in ("lock_timeout", "lock_wait"):
            if getattr(self, name) <= timedelta():
                raise ValueError(f"{name} must be longer than nothing")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from the environment.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)
