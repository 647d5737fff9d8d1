"""Settings that this service has besides those of every service."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Self

from auth_service.domain.client import Client, parse_clients
from auth_service.domain.signing_key import SHORTEST_ROTATION
from mtenant_config import ByteSize, ConfigError, Env, Problem, Range, Secret, from_env

_SHORTEST: Final = 32
_KIB: Final = 1024
_URL: Final = re.compile(r"https?://[^\s#?]*[^\s#?/]")
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")


@dataclass(frozen=True, kw_only=True)
class AuthServiceSettings:
    """What the service is run with.

    Attributes:
        secret: 32 characters or more, the same in every replica. Signing keys are encrypted under it in
            the database, and refresh tokens are made with it. Without it only a laptop works, with keys
            that end with the process.
        signing_keys: A JWK set with private Ed25519 keys, instead of keys in the database: the
            first signs, all are published. Whoever sets it rotates it.
        key_rotation: How long a key in the database signs.
        clients: The services that get tokens of their own, as JSON by their names: `{"deal-service":
            {"secrets": ["..."], "scopes": ["contacts:read"]}}`.
        app_url: Where people choose passwords and confirm addresses; mails link to it.
        base_domain: `crm.example.com`, if `acme.crm.example.com` names a tenant's subdomain.
        password_memory: For one password hash.
        password_passes: Over that memory.
        password_workers: Password hashes at a time.
        account_attempts: Passwords tried for one account in five minutes.
        address_attempts: Passwords tried from one address in five minutes.
    """

    secret: Annotated[Secret | None, Env("AUTH_SECRET")] = None
    signing_keys: Annotated[Secret | None, Env("AUTH_SIGNING_KEYS")] = None
    key_rotation: Annotated[timedelta, Env("AUTH_KEY_ROTATION"), Range(SHORTEST_ROTATION)] = (
        timedelta(days=30)
    )
    clients: Annotated[Secret | None, Env("AUTH_CLIENTS")] = None
    app_url: Annotated[str | None, Env("APP_URL")] = None
    base_domain: Annotated[str | None, Env("AUTH_BASE_DOMAIN")] = None
    password_memory: Annotated[ByteSize, Env("ARGON2_MEMORY"), Range(ByteSize(8 * _KIB))] = (
        ByteSize(19 * _KIB * _KIB)
    )
    password_passes: Annotated[int, Env("ARGON2_PASSES"), Range(1, 100)] = 2
    password_workers: Annotated[int, Env("ARGON2_WORKERS"), Range(1, 64)] = 2
    account_attempts: Annotated[int, Env("LOGIN_ACCOUNT_ATTEMPTS"), Range(1, None)] = 10
    address_attempts: Annotated[int, Env("LOGIN_ADDRESS_ATTEMPTS"), Range(1, None)] = 100

    def __post_init__(self) -> None:
        if self.secret is not None and len(self.secret.reveal()) < _SHORTEST:
            raise ValueError(f"AUTH_SECRET is shorter than {_SHORTEST} characters")
        if self.app_url is not None and not _URL.fullmatch(self.app_url):
            raise ValueError(
                "APP_URL is no URL like https://crm.example.com, without a / at its end"
            )
        if self.base_domain is not None and not _DOMAIN.fullmatch(self.base_domain):
            raise ValueError("AUTH_BASE_DOMAIN is no domain like crm.example.com")
        self.known_clients()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from environment variables.

        Raises:
            ConfigError: With every problem.
        """
        return from_env(cls, environ=environ)

    def known_clients(self) -> Mapping[str, Client]:
        """Return the services by their names.

        Raises:
            ValueError: The setting is not as it should be.
        """
        if self.clients is None:
            return {}
        try:
            return parse_clients(self.clients.reveal())
        except ValueError as exc:
            raise ValueError(f"AUTH_CLIENTS {exc}") from None

    def key_for(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose, of which no other purpose's follow.

        Raises:
            ConfigError: There is no secret.
        """
        if self.secret is None:
            raise missing_secret()
        about = f"mtenant auth-service {purpose}".encode()
        return hmac.digest(self.secret.reveal().encode(), about, "sha256")


def missing_secret() -> ConfigError:
    """Return the error of a service that would forget its keys."""
    told = (
        "missing, expected 32 random characters or more, the same in every replica"
        " (AUTH_SECRET_FILE names a file); only ENVIRONMENT=development does without"
    )
    return ConfigError([Problem("AUTH_SECRET", "missing", told)])
