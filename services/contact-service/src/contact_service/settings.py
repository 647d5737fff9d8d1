"""Settings of this service alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Self

from mtenant_config import Env, Range, from_env


@dataclass(frozen=True, kw_only=True)
class ContactServiceSettings:
    """What contact-service needs besides what every service needs.

    Attributes:
        lookup_timeout: How long auth-service may be silent when it is asked whether an owner is there. A
            request with an Idempotency-Key holds a connection to the database meanwhile.
    """

    lookup_timeout: Annotated[
        timedelta, Env("LOOKUP_TIMEOUT"), Range(timedelta(milliseconds=10), timedelta(seconds=30))
    ] = timedelta(seconds=1)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from environment variables.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)
