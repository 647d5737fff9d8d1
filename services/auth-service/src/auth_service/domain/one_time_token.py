"""Tokens that travel in a mail and work once: for a new password, for an address."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Final

RESET_LIFETIME: Final = timedelta(hours=1)
"""For a password that was forgotten."""

WELCOME_LIFETIME: Final = timedelta(days=7)
"""For the first password of an account that somebody else made."""

VERIFICATION_LIFETIME: Final = timedelta(days=3)
"""For an address."""

_FORM: Final = re.compile(r"([a-z0-9][a-z0-9_]{0,55})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class OneTimeToken:
    """A token; the database has its digest only.

    Attributes:
        tenant: The tenant's id: the token has to say where it belongs.
        digest: What is stored. The secret has 256 bits, so that a plain digest is enough.
    """

    tenant: str
    digest: bytes


def new_token(tenant: str) -> tuple[str, OneTimeToken]:
    """Return the text of a new token, for the mail, and the token."""
    text = f"{tenant}.{secrets.token_urlsafe(32)}"
    return text, OneTimeToken(tenant, sha256(text.encode()).digest())


def read_token(text: str) -> OneTimeToken | None:
    """Return the token of a text, or None if it has not the form of one."""
    form = _FORM.fullmatch(text) if len(text) <= 128 else None
    return None if form is None else OneTimeToken(form[1], sha256(text.encode()).digest())
