"""Refresh tokens: the name of a family, a counter, and a code that only this service can make.

A family is one login. Its newest token is the one whose counter stands in the database, and every token
follows from its counter: so nothing is stored that could be stolen, a token is refused before the
database is asked, and whoever asks twice for the successor gets the same.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from auth_service.domain.errors import RefreshTokenInvalid

LIFETIME: Final = timedelta(days=30)
"""After which a person logs in again, however busy the session is."""

GRACE: Final = timedelta(seconds=10)
"""For how long the previous token gets the same successor again: an answer may be lost, and two tabs
may ask at once (RFC 9700, 4.14.2 leaves it to the server)."""

_FORM: Final = re.compile(
    r"mrt\.([a-z0-9][a-z0-9_]{0,55})\.([0-9a-f]{32})\.(0|[1-9][0-9]{0,17})\.([A-Za-z0-9_-]{43})"
)
_LONGEST: Final = 256


@dataclass(frozen=True)
class RefreshToken:
    """One token of a family.

    Attributes:
        tenant: The tenant's id: the token has to say where its family is.
        family: The family's id.
        counter: Its place in the family, from 0.
    """

    tenant: str
    family: UUID
    counter: int


class RefreshTokens:
    """Writes and reads tokens.

    Args:
        key: Known to every replica, and to nobody else.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, token: RefreshToken) -> str:
        """Return the text of a token."""
        said = f"mrt.{token.tenant}.{token.family.hex}.{token.counter}"
        return f"{said}.{self._code(said)}"

    def read(self, text: str) -> RefreshToken:
        """Return the token of a text.

        Raises:
            RefreshTokenInvalid: This service did not write it.
        """
        form = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
        if form is None:
            raise RefreshTokenInvalid(internal="not of the form of a refresh token")
        said = text.rpartition(".")[0]
        if not hmac.compare_digest(self._code(said), form[4]):
            raise RefreshTokenInvalid(internal="the code is another one")
        return RefreshToken(form[1], UUID(form[2]), int(form[3]))

    def _code(self, said: str) -> str:
        digest = hmac.digest(self._key, said.encode(), "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


Verdict = Literal["again", "ended", "stolen"]


def judge(
    presented: int, *, counter: int, since_rotation: timedelta | None, alive: bool
) -> Verdict:
    """Return what a token is that is not the newest of its family.

    Args:
        presented: Its counter.
        counter: The family's.
        since_rotation: How long ago the newest token was made; None for the first one.
        alive: Whether the family is neither revoked nor at its end.

    Returns:
        `again`: it is the previous one, and its successor was just made: it gets the same. `stolen`: it was
        used before, so that somebody has a copy. `ended`: it is of no use, and nothing follows from it.

    >>> judge(6, counter=7, since_rotation=timedelta(seconds=3), alive=True)
    'again'
    >>> judge(5, counter=7, since_rotation=timedelta(seconds=3), alive=True)
    'stolen'
    """
    if (
        not alive or presented >= counter
    ):  # a counter ahead of ours: the database came from a backup
        return "ended"
    if presented == counter - 1 and since_rotation is not None and since_rotation <= GRACE:
        return "again"
    return "stolen"
