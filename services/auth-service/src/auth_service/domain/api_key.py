"""API keys: a program's id and secret, by which it gets access tokens of the person who made the key."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

_FORM: Final = re.compile(r"mak\.([a-z0-9][a-z0-9_]{0,55})\.([0-9a-f]{32})")


@dataclass(frozen=True)
class ApiKeyId:
    """Where a key is.

    Attributes:
        tenant: The tenant's id.
        id: The key's own.

    >>> ApiKeyId.read(ApiKeyId("acme", UUID(int=7)).text).tenant
    'acme'
    """

    tenant: str
    id: UUID

    @property
    def text(self) -> str:
        """The client id (RFC 6749, 2.2)."""
        return f"mak.{self.tenant}.{self.id.hex}"

    @classmethod
    def read(cls, text: str) -> ApiKeyId | None:
        """Return the id of a text, or None if it is no key's."""
        form = _FORM.fullmatch(text)
        return None if form is None else cls(form[1], UUID(form[2]))


def new_secret() -> tuple[str, bytes]:
    """Return a new secret, which is shown once, and the digest that is stored."""
    secret = secrets.token_urlsafe(32)
    return secret, digest_of(secret)


def digest_of(secret: str) -> bytes:
    """Return what is stored of a secret; with 256 random bits a plain digest is enough."""
    return sha256(secret.encode("utf-8", "replace")).digest()
