"""What a route asks of its caller. Every route says it, or the program does not start.

```python
@router.get("/{contact_id}", dependencies=[requires("contacts:read")])
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Request

from mtenant_chassis.auth.permissions import check_permission
from mtenant_chassis.auth.principal import Principal
from mtenant_chassis.mark import Mark
from mtenant_chassis.parameters import given
from mtenant_errors import AppError, Forbidden, Unauthorized


class TokenMissing(Unauthorized):
    """The request has no token, and the route needs one."""

    code, message = "TOKEN_MISSING", "an access token is needed"


class PermissionMissing(Forbidden):
    """The caller's role, or the scope of its token, does not reach so far."""

    code, message = "PERMISSION_MISSING", "the permission {permission} is needed"


class ServicesOnly(Forbidden):
    """The route is for other services."""

    code, message = "SERVICES_ONLY", "this is for services only"


@dataclass(frozen=True)
class Access(Mark):
    """A route's demand.

    Attributes:
        who: Anybody, anybody with a token, or services.
        permission: What they must be allowed to do, if anything.
    """

    who: Literal["public", "authenticated", "services"]
    permission: str | None = None

    def check(self, state: Mapping[str, Any]) -> None:
        """Let the caller pass, or not.

        Raises:
            Unauthorized: Nobody knows who asks.
            Forbidden: It is known, and may not.
        """
        if self.who == "public":
            return
        principal = state.get("principal")
        if principal is None:
            error: AppError | None = state.get("principal_error")
            raise TokenMissing if error is None else error
        if self.who == "services" and principal.kind != "service":
            raise ServicesOnly
        if self.permission is not None and not principal.may(self.permission):
            raise PermissionMissing(permission=self.permission)


def requires(permission: str) -> Any:
    """Demand a permission, such as `contacts:write`; for `dependencies=[...]` of a route.

    Raises:
        ValueError: It is no `noun:verb`.
    """
    return Access("authenticated", check_permission(permission))


def authenticated() -> Any:
    """Demand a good token, and nothing more."""
    return Access("authenticated")


def public() -> Any:
    """Demand nothing: the route answers everybody."""
    return Access("public")


def services_only(permission: str | None = None) -> Any:
    """Demand the token of a service, which says for whom it was issued.

    Args:
        permission: A scope that the service's token must have besides.

    Raises:
        ValueError: It is no `noun:verb`.
    """
    return Access("services", permission and check_permission(permission))


async def principal_of(request: Request) -> Principal:
    """Return the caller.

    Raises:
        Unauthorized: The route is public, and nobody knows who asks.
    """
    state = request.scope["state"]
    principal: Principal | None = state.get("principal")
    if principal is None:
        raise state.get("principal_error") or TokenMissing()
    return principal


CurrentPrincipal = Annotated[Principal, given(principal_of)]
"""The caller, as a parameter of a route: `async def get(user: CurrentPrincipal)`."""
