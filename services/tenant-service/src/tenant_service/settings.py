"""Settings of this service alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Self

from mtenant_config import Env, Range, Secret, from_env


@dataclass(frozen=True, kw_only=True)
class TenantServiceSettings:
    """What tenant-service needs besides what every service needs.

    Attributes:
        provision_url: The database as a role that may take the owner's (`DB_OWNER_ROLE`): it makes and
            removes schemas, which the role of requests may not. None: `DATABASE_URL`'s does both.
        app_url: Where the front end is: links in mails begin with it. None: mails have the bare token.
        invitation_lifetime: For how long an invitation can be accepted.
    """

    provision_url: Annotated[Secret | None, Env("PROVISION_DATABASE_URL")] = None
    app_url: Annotated[str | None, Env("APP_URL")] = None
    invitation_lifetime: Annotated[
        timedelta, Env("INVITATION_LIFETIME"), Range(timedelta(minutes=1), timedelta(days=90))
    ] = timedelta(days=7)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from environment variables.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)
