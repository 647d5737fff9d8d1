"""Where the outbox is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from mtenant_config import Env, Secret, from_env


@dataclass(frozen=True)
class OutboxSettings:
    """Where the outbox is.

    Attributes:
        url: A URL or a connection string of libpq.
        pooler: `transaction` behind PgBouncer in transaction mode: relays are not woken by other
            processes then, and look once a second.
    """

    url: Annotated[Secret, Env("DATABASE_URL")]
    pooler: Annotated[Literal["none", "transaction"], Env("DB_POOLER")] = "none"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from the environment.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)
