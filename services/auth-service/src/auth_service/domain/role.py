"""Who may do what to whom."""

from __future__ import annotations

from auth_service.domain.errors import OwnAccount, RoleTooLow
from mtenant_chassis import Principal
from mtenant_chassis.auth import ROLES


def rank(role: str) -> int:
    """Return how far a role reaches; an unknown one reaches nowhere.

    >>> rank("viewer") < rank("owner"), rank("root")
    (True, -1)
    """
    return ROLES.index(role) if role in ROLES else -1


def check_may_change(actor: Principal, user_id: str, *roles: str) -> None:
    """Let an administrator change a user.

    Args:
        actor: Who does it. A service may, whatever the roles are: its scope says so.
        user_id: Of the user.
        *roles: The user's present role, and the new one.

    Raises:
        OwnAccount: It is the actor's own account.
        RoleTooLow: One of the roles is above the actor's.
    """
    if actor.kind == "service":
        return
    if actor.id == user_id:
        raise OwnAccount
    own = max((rank(role) for role in actor.roles), default=-1)
    if any(rank(role) > own for role in roles):
        raise RoleTooLow
