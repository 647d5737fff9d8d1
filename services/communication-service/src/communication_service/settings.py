"""Settings of this service alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Self

from communication_service.domain.tracking import Signer
from mtenant_config import Env, Range, Secret, from_env

_URL: Final = re.compile(
    r"https?://[!$-;=@-~]*[!$-.0-;=@-~]"
)  # ASCII that a mail's header can hold
_SHORTEST: Final = 32


@dataclass(frozen=True, kw_only=True)
class CommunicationServiceSettings:
    """What communication-service needs besides what every service needs.

    Attributes:
        public_url: Where the readers of mails reach this service, such as `https://crm.example.com`, without a
            slash at its end. None: mails have no links of ours, and nothing of their readers is known.
        tracking_secret: Signs those links: 32 characters or more, the same in every replica.
        tracking_secret_before: The one before, whose links are still believed.
        tracking_lifetime: For how long a link of a mail works.
        machine_window: What opens a mail sooner after it was sent is a machine.
    """

    public_url: Annotated[str | None, Env("PUBLIC_URL")] = None
    tracking_secret: Annotated[Secret | None, Env("TRACKING_SECRET")] = None
    tracking_secret_before: Annotated[Secret | None, Env("TRACKING_SECRET_BEFORE")] = None
    tracking_lifetime: Annotated[
        timedelta, Env("TRACKING_LIFETIME"), Range(timedelta(days=1), timedelta(days=3650))
    ] = timedelta(days=365)
    machine_window: Annotated[
        timedelta, Env("MACHINE_WINDOW"), Range(timedelta(0), timedelta(minutes=10))
    ] = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if self.public_url is not None and not _URL.fullmatch(self.public_url):
            raise ValueError(
                "PUBLIC_URL is no URL like https://crm.example.com, without a / at its end"
            )
        if (self.public_url is None) != (self.tracking_secret is None):
            raise ValueError("PUBLIC_URL and TRACKING_SECRET belong together: set both, or neither")
        for name, secret in (
            ("TRACKING_SECRET", self.tracking_secret),
            ("TRACKING_SECRET_BEFORE", self.tracking_secret_before),
        ):
            if secret is not None and len(secret.reveal()) < _SHORTEST:
                raise ValueError(f"{name} is shorter than {_SHORTEST} characters")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from environment variables.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)

    @property
    def signer(self) -> Signer | None:
        """What signs links of mails; None where mails have none."""
        if self.tracking_secret is None:
            return None
        given = (self.tracking_secret, self.tracking_secret_before)
        secrets = [one.reveal() for one in given if one is not None]
        return Signer(secrets, self.tracking_lifetime)
