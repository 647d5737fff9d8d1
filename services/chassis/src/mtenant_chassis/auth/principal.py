"""The caller of a request: who it is, for which tenant, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mtenant_chassis.auth.permissions import covers, permits

Kind = Literal["user", "service"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose token was checked.

    Attributes:
        id: The user's id, or the service's name.
        tenant: For which tenant it acts; None for a service that acts for none.
        roles: In that tenant.
        scopes: If there are any, it may do only what they say besides: an API key's, or a service's.
        session: The id of the login, None for a service.
        kind: A person (or a key of one), or a service.
        expires: When its token ends, as a Unix time in seconds.
    """

    id: str
    tenant: str | None = None
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    session: str | None = None
    kind: Kind = "user"
    expires: float = 0.0

    @property
    def key(self) -> str:
        """Tells principals apart: two of different kinds may have one id."""
        return f"{self.kind}:{self.id}"

    def may(self, permission: str) -> bool:
        """Tell whether it has a permission, such as `contacts:write`.

        A person needs a role that reaches so far, and a token whose scopes, if there are any, cover
        it. A service needs the scope.

        Raises:
            ValueError: It is no `noun:verb`.
        """
        if self.kind == "service":
            return covers(self.scopes or (), permission)
        if self.scopes is not None and not covers(self.scopes, permission):
            return False
        return permits(self.roles, permission)
