"""Clients: services that get tokens of their own."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from mtenant_chassis.auth.permissions import check_permission

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SHORTEST: Final = 16


@dataclass(frozen=True)
class Client:
    """A service.

    Attributes:
        name: Such as `tenant-service`.
        digests: Of its secrets: of two, while one replaces the other; of none, if it is called only.
        scopes: What it may do, at whichever service has to do with it.
    """

    name: str
    digests: tuple[bytes, ...]
    scopes: tuple[str, ...]

    def knows(self, secret: str) -> bool:
        """Tell whether a secret is one of its own, in equal time."""
        given = sha256(secret.encode("utf-8", "replace")).digest()
        # Every one is compared: which one it is takes no less time.
        return sum(hmac.compare_digest(given, digest) for digest in self.digests) > 0


NOBODY: Final = Client("nobody", (bytes(32),), ())
"""Compared with where there is no such client."""


def parse_clients(text: str) -> Mapping[str, Client]:
    """Read the clients from the setting: a JSON object by their names.

    >>> text = '{"deal-service": {"secrets": ["0123456789abcdef"], "scopes": ["contacts:read"]}}'
    >>> parse_clients(text)["deal-service"].scopes
    ('contacts:read',)

    Raises:
        ValueError: It is none. The message repeats no secret.
    """
    try:
        document = json.loads(text)
    except ValueError:
        raise ValueError("is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is no JSON object with the clients by their names")  # noqa: TRY004
    return {name: _client(name, said) for name, said in document.items()}


def _client(name: str, said: Any) -> Client:
    if not _NAME.fullmatch(name):
        raise ValueError("has a client whose name is not like deal-service")
    if not isinstance(said, dict) or set(said) - {"secrets", "scopes"}:
        raise ValueError(f"{name}: a client has `secrets` and `scopes`, and nothing else")
    secrets, scopes = said.get("secrets", []), said.get("scopes", [])
    if not isinstance(secrets, list) or not all(map(_is_secret, secrets)):
        raise ValueError(f"{name}: `secrets` is a list of texts of {_SHORTEST} characters or more")
    if not isinstance(scopes, list) or not all(isinstance(one, str) for one in scopes):
        raise ValueError(f"{name}: `scopes` is a list of permissions such as contacts:read")
    digests = tuple(sha256(one.encode()).digest() for one in secrets)
    return Client(name, digests, tuple(check_permission(one) for one in scopes))


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= _SHORTEST
