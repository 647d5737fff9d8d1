"""Tokens of links in mails: which mail and which link, signed, for a while.

A token is `version, purpose, link, last day, id of the mail, tenant` and 16 bytes of an HMAC-SHA256 of them, as
base64url. It is no secret of the recipient's and opens nothing: it says that something happened to a mail.
The purpose is signed, too: the token of a picture does not unsubscribe anybody.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

Purpose = Literal["open", "click", "unsubscribe"]

_PURPOSES: Final[dict[Purpose, int]] = {"open": 1, "click": 2, "unsubscribe": 3}
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BBHH16s")
_MAC: Final = 16
_LONGEST: Final = 256
_FIRST: Final = date(2020, 1, 1)
_KEY: Final = b"mtenant communication-service tracking"


@dataclass(frozen=True)
class Token:
    """What a token says.

    Attributes:
        purpose: What following it means.
        tenant: Whose mail it is.
        email: Which mail.
        link: Which of its links, from 0; 0 for others than clicks.
    """

    purpose: Purpose
    tenant: str
    email: UUID
    link: int = 0


class Signer:
    """Writes and reads tokens.

    Args:
        secrets: The first one signs, all of them are believed.
        lifetime: For how long a token works, to the day.
    """

    def __init__(self, secrets: Sequence[str], lifetime: timedelta) -> None:
        self._keys = [hmac.digest(one.encode(), _KEY, "sha256") for one in secrets]
        self._lifetime = lifetime

    def write(self, token: Token, *, now: datetime | None = None) -> str:
        """Return a token as text."""
        last = ((now or datetime.now(UTC)) + self._lifetime).date()
        head = _HEAD.pack(
            *(_VERSION, _PURPOSES[token.purpose], token.link),
            *((last - _FIRST).days, token.email.bytes),
        )
        body = head + token.tenant.encode("ascii")
        return urlsafe_b64encode(body + self._mac(self._keys[0], body)).rstrip(b"=").decode()

    def read(self, text: str, purpose: Purpose, *, now: datetime | None = None) -> Token | None:
        """Return what a token says; None if it is forged, too old, or of another purpose."""
        raw = _bytes(text)
        if raw is None:
            return None
        body, mac = raw[:-_MAC], raw[-_MAC:]
        good = [hmac.compare_digest(self._mac(key, body), mac) for key in self._keys]
        if not any(good) or len(body) < _HEAD.size:
            return None
        version, number, link, last, email = _HEAD.unpack_from(body)
        today = ((now or datetime.now(UTC)).date() - _FIRST).days
        if version != _VERSION or number != _PURPOSES[purpose] or today > last:
            return None
        return Token(purpose, body[_HEAD.size :].decode("ascii"), UUID(bytes=email), link)

    def _mac(self, key: bytes, body: bytes) -> bytes:
        return hmac.digest(key, body, "sha256")[:_MAC]


def _bytes(text: str) -> bytes | None:
    if not _MAC < len(text) <= _LONGEST:
        return None
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    # One spelling for each: what decodes to the same bytes is not the same token.
    return raw if urlsafe_b64encode(raw).rstrip(b"=").decode() == text else None
