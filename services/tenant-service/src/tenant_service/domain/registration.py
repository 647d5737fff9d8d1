"""Registrations: an organization on its way into being.

A registration is a row before anything else is made, and each step can be done again: so whoever finds the
row finishes the work, or removes what there is of it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

from pydantic import SecretStr

RegistrationState = Literal["running", "abandoning", "done", "failed"]

LEASE: Final = timedelta(minutes=2)
"""For how long a registration is one process's. One that dies with it is taken over after that."""

ATTEMPT: Final = 90.0
"""Seconds that an attempt may take: well within the lease."""

PATIENCE: Final = timedelta(hours=24)
"""After which a registration that keeps failing is given up, and what there is of it removed."""

REMEMBERED: Final = timedelta(hours=24)
"""For how long one that is over is known, to whoever asks or sends it again."""

_FIRST_WAIT: Final = timedelta(seconds=15)
_LONGEST_WAIT: Final = timedelta(minutes=10)


def wait_after(attempt: int) -> timedelta:
    """Return how long to wait after an attempt that failed; the first is 1.

    >>> wait_after(1).seconds, wait_after(2).seconds, wait_after(50).seconds
    (15, 30, 600)
    """
    return min(_FIRST_WAIT * (1 << min(attempt - 1, 10)), _LONGEST_WAIT)


@dataclass(frozen=True)
class Owner:
    """The first user of an organization.

    Attributes:
        email: The address, in its one spelling.
        name: Of the person.
        password: In memory only: after a crash the owner is asked to choose one by mail.
    """

    email: str
    name: str
    password: SecretStr | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Application:
    """What somebody asks for.

    Attributes:
        name: Of the organization.
        subdomain: Where it is to be found.
        owner: Its first user.
        key: Chosen by the client, by which it may send the same again.
    """

    name: str
    subdomain: str
    owner: Owner
    key: str | None = field(default=None, repr=False)

    @property
    def key_digest(self) -> bytes | None:
        """What the key is found by. It is of this subdomain and address: two clients may choose one key."""
        if self.key is None:
            return None
        return sha256("\0".join((self.subdomain, self.owner.email, self.key)).encode()).digest()

    @property
    def fingerprint(self) -> bytes | None:
        """By which the same is told from another. The password is no part: no digest of it is stored."""
        if self.key is None:
            return None
        said = "\0".join((self.name, self.subdomain, self.owner.email, self.owner.name))
        return hmac.digest(self.key.encode(), said.encode(), "sha256")


@dataclass(frozen=True)
class Registration:
    """A registration, held by this process until `lease_until` if it has the newest `attempt`.

    Attributes:
        id: By which its status is asked for; it tells nothing else.
        tenant: The tenant's id.
        subdomain: Where the organization is to be found.
        name: What it is called.
        owner_id: Of the account to make, chosen now, so that it is made once.
        owner_email: Its address; None once the registration is over.
        owner_name: Its name.
        fingerprint: Of what was asked for.
        state: How far it is.
        error: The code of what failed last.
        attempt: Which attempt this is.
        created_at: When it was asked for.
        lease_until: Until when nobody else touches it.
    """

    id: UUID
    tenant: str
    subdomain: str
    name: str
    owner_id: UUID
    owner_email: str | None
    owner_name: str | None
    fingerprint: bytes | None
    state: RegistrationState
    error: str | None
    attempt: int
    created_at: datetime
    lease_until: datetime
