"""Tokens of any kind, without an auth-service."""

from __future__ import annotations

import time
import uuid
from typing import Any

from joserfc.jwk import OKPKey

from mtenant_chassis.auth.keys import KeySet, StaticKeys, generate_key
from mtenant_chassis.auth.token import AccessToken, write_token
from mtenant_chassis.settings import AuthSettings


class Issuer:
    """Issues tokens as auth-service does.

    Attributes:
        key: The signing key.
        kid: Its id.
        keys: What an app is given: `create_app(..., keys=issuer.keys)`.
        settings: The issuer and audience that the tokens have.
    """

    def __init__(self, settings: AuthSettings | None = None) -> None:
        self.key: OKPKey = generate_key()
        self.kid = uuid.uuid4().hex[:8]
        self.keys = StaticKeys(KeySet({self.kid: self.key}))
        self.settings = settings or AuthSettings()

    def token(self, tenant: str | None, *roles: str, user: str = "u1", **claims: Any) -> str:
        """Return a token of a person.

        Args:
            tenant: Of which tenant.
            *roles: With which roles.
            user: The person's id.
            **claims: Other fields of `AccessToken`, such as `expires`.
        """
        said: dict[str, Any] = {
            "subject": user,
            "issuer": self.settings.issuer,
            "audience": self.settings.audience,
            "expires": time.time() + 600,
            "session": f"session-of-{user}",
        }
        token = AccessToken(**{**said, "tenant": tenant, "roles": roles, **claims})
        return write_token(token, self.key, self.kid)

    def service_token(
        self,
        service: str,
        *,
        audience: str,
        tenant: str | None = None,
        scopes: tuple[str, ...] = (),
    ) -> str:
        """Return a token of a service, for calls to another one."""
        return self.token(
            tenant, user=service, audience=audience, scopes=scopes, kind="service", session=None
        )

    def bearer(self, tenant: str | None, *roles: str, **claims: Any) -> dict[str, str]:
        """Return the Authorization field with a person's token."""
        return {"authorization": f"Bearer {self.token(tenant, *roles, **claims)}"}
