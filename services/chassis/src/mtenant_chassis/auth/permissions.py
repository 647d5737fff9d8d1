"""What a role may do: five roles, five verbs, one ladder.

A permission is `noun:verb`. The noun is a service's own (`contacts`, `users`); the verbs are five,
each includes those before it, and each role reaches up to one of them:

| role | up to | such as |
|---|---|---|
| viewer | read | look at contacts |
| member | write | create and change them |
| manager | delete | delete them, see the team's numbers |
| admin | manage | users, invitations, settings |
| owner | own | delete the tenant, change its plan |

So a new noun needs no entry in any table, and no service can forget one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, get_args

Role = Literal["viewer", "member", "manager", "admin", "owner"]
Verb = Literal["read", "write", "delete", "manage", "own"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""From the least to the most."""

VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
"""The n-th verb is the highest of the n-th role."""

_PERMISSION: Final = re.compile(rf"[a-z][a-z0-9-]*:({'|'.join(VERBS)})")
_RANK: Final[dict[str, int]] = {name: n for names in (ROLES, VERBS) for n, name in enumerate(names)}


@lru_cache(256)  # those of the routes, for each request
def check_permission(permission: str) -> str:
    """Return the permission as it is.

    Raises:
        ValueError: It is not `noun:verb`.
    """
    if not _PERMISSION.fullmatch(permission):
        raise ValueError(f"{permission!r} is no permission: write noun:verb, a verb of {VERBS}")
    return permission


def permits(roles: Iterable[str], permission: str) -> bool:
    """Tell whether any of the roles reaches up to the permission's verb; unknown roles do not.

    >>> permits(["manager"], "contacts:delete"), permits(["manager"], "users:manage")
    (True, False)
    """
    verb = check_permission(permission).partition(":")[2]
    return any(_RANK[role] >= _RANK[verb] for role in roles if role in ROLES)


def covers(scopes: Iterable[str], permission: str) -> bool:
    """Tell whether a scope is the permission, or the same noun with a higher verb.

    >>> covers(["contacts:delete"], "contacts:read"), covers(["deals:read"], "contacts:read")
    (True, False)
    """
    noun, _, verb = check_permission(permission).partition(":")
    for scope in scopes:
        other, _, reach = scope.partition(":")
        if other == noun and _RANK.get(reach, -1) >= _RANK[verb] and reach in VERBS:
            return True
    return False
