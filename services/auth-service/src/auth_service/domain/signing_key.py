"""Signing keys: when one follows another, and how they are stored.

A new key is published a while before it signs, so that everybody who keeps the key set has it by
then; an old one is published until the last token that it signed has ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.jwk import OKPKey

AHEAD: Final = timedelta(minutes=15)
"""How long a key is published before it signs: services keep the key set for five minutes."""

LINGER: Final = timedelta(hours=1)
"""How long a key is published after its successor began: access tokens live ten minutes."""

SHORTEST_ROTATION: Final = AHEAD + LINGER

_NONCE: Final = 12


class SealBroken(Exception):
    """A stored key was not encrypted under the present secret."""


@dataclass(frozen=True)
class StoredKey:
    """A row.

    Attributes:
        kid: The key's id.
        sealed: The private key, encrypted.
        signs_from: When it begins to sign.
    """

    kid: str
    sealed: bytes
    signs_from: datetime


@dataclass(frozen=True)
class Plan:
    """What is to be done with the stored keys now.

    Attributes:
        signer: The key that signs; None if there is none yet.
        drop: Keys that no living token was signed with.
        add_from: When a new key is to begin; None if none is due.
    """

    signer: StoredKey | None
    drop: tuple[str, ...]
    add_from: datetime | None

    @property
    def changes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.drop) or self.add_from is not None


def plan(keys: Iterable[StoredKey], *, now: datetime, rotation: timedelta) -> Plan:
    """Return what is to be done now; pure, so that every replica comes to the same.

    Args:
        keys: All that are stored.
        now: By the database's clock, which replicas share.
        rotation: How long a key signs.
    """
    known = sorted(keys, key=lambda key: (key.signs_from, key.kid))
    begun = [key for key in known if key.signs_from <= now]
    if not begun:
        return Plan(None, (), now)
    signer = begun[-1]
    drop = tuple(key.kid for key, after in pairwise(begun) if after.signs_from + LINGER <= now)
    due = signer.signs_from + rotation
    if known[-1] is not signer or due - AHEAD > now:
        return Plan(signer, drop, None)
    return Plan(signer, drop, max(due, now + AHEAD))


class Seal:
    """Encrypts private keys (AES-256-GCM), each bound to its id.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, kid: str, key: OKPKey) -> bytes:
        """Return what is stored of a key."""
        nonce = os.urandom(_NONCE)
        text = json.dumps(key.as_dict(private=True)).encode()
        return nonce + self._cipher.encrypt(nonce, text, kid.encode())

    def open(self, stored: StoredKey) -> OKPKey:
        """Return the key.

        Raises:
            SealBroken: It was encrypted under another secret, or changed.
        """
        sealed = bytes(stored.sealed)
        try:
            text = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], stored.kid.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealBroken(f"the signing key {stored.kid} cannot be opened") from exc
        return OKPKey.import_key(json.loads(text))
