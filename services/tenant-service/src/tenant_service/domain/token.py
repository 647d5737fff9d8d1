"""Tokens of invitations: in a mail, and nowhere else."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

_FORM: Final = re.compile(r"([a-z0-9][a-z0-9_]{0,55})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class InvitationToken:
    """A token.

    Attributes:
        tenant: Of which tenant it is; the text begins with it, so that it is known where to look.
        text: What the mail says; in no repr.
    """

    tenant: str
    text: str = field(repr=False)

    @property
    def digest(self) -> bytes:
        """What is stored. The secret has 256 random bits: a plain digest cannot be guessed from."""
        return sha256(self.text.encode()).digest()


def new_token(tenant: str) -> InvitationToken:
    """Return a token that nobody had before."""
    return InvitationToken(tenant, f"{tenant}.{secrets.token_urlsafe(32)}")


def read_token(text: str) -> InvitationToken | None:
    """Return the token of a text; None if it has not the form of one.

    >>> read_token("acme.short") is None
    True
    """
    form = _FORM.fullmatch(text)
    return None if form is None else InvitationToken(form[1], text)
