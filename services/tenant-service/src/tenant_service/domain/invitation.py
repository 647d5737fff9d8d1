"""Invitations: an address, a role, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from mtenant_chassis import Principal
from mtenant_chassis.auth import ROLES, Role
from tenant_service.domain.errors import RoleTooHigh

Status = Literal["pending", "accepted", "revoked", "expired"]


@dataclass(frozen=True)
class Invitation:
    """An invitation, as its tenant sees it.

    Attributes:
        id: Its id.
        email: Who is invited.
        role: As what.
        status: `pending` until it is accepted, revoked, or too old.
        invited_by: By whom: the user's id.
        user_id: Of the account that accepting makes.
        sent: How often the mail was sent.
        expires_at: Until when it can be accepted.
        accepted_by: The account, once it was.
        accepted_at: When.
        created_at: When it was made.
        version: Grows with every change.
    """

    id: UUID
    email: str
    role: Role
    status: Status
    invited_by: str
    user_id: UUID
    sent: int
    expires_at: datetime
    accepted_by: str | None
    accepted_at: datetime | None
    created_at: datetime
    version: int


def rank(role: str) -> int:
    """Return how far a role reaches; an unknown one reaches nowhere.

    >>> rank("viewer") < rank("owner"), rank("emperor")
    (True, -1)
    """
    return ROLES.index(role) if role in ROLES else -1


def check_may_give(who: Principal, role: str) -> None:
    """Let somebody give a role to somebody else.

    Args:
        who: A person gives at most the own role. A service's scope said already that it may.
        role: Which one.

    Raises:
        RoleTooHigh: It is above the own.
    """
    if who.kind == "user" and rank(role) > highest(who.roles):
        raise RoleTooHigh(role=role)


def highest(roles: Sequence[str]) -> int:
    """Return how far the farthest of some roles reaches."""
    return max((rank(role) for role in roles), default=-1)
