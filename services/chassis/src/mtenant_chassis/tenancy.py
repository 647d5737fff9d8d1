"""The tenant of a request: the handle that a route is given, and the transaction of a write."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request

import mtenant_database
from mtenant_chassis.parameters import given
from mtenant_database import TenantRequired
from mtenant_errors import Forbidden


class TokenWithoutTenant(Forbidden):
    """The token is of nobody's tenant: a service's, issued for none."""

    code, message = "TOKEN_WITHOUT_TENANT", "the token was not issued for a tenant"


def tenant_name(scope: Any) -> str | None:
    """Return the tenant that a request is for: that of its token, whose signature was checked."""
    principal = scope["state"].get("principal")
    return None if principal is None else principal.tenant


async def tenant_of(request: Request) -> mtenant_database.Tenant:
    """Return the handle of the request's tenant.

    Raises:
        TokenWithoutTenant: The caller acts for no tenant.
        TenantRequired: The route is public and asks for a tenant all the same: the program's fault.
    """
    state = request.scope["state"]
    tenant: mtenant_database.Tenant | None = state.get("tenant")
    if tenant is None:
        if state.get("principal") is not None:
            raise TokenWithoutTenant
        raise TenantRequired(internal="a public route has no tenant: find it, and use its handle")
    return tenant


async def transaction_of(request: Request) -> mtenant_database.Transaction:
    """Return the transaction that the route's answer is committed with."""
    tx: mtenant_database.Transaction = request.scope["state"]["transaction"]
    return tx


Tenant = Annotated[mtenant_database.Tenant, given(tenant_of)]
"""The handle of the caller's tenant, as a parameter of a route: `async def get(tenant: Tenant)`."""

Tx = Annotated[mtenant_database.Transaction, given(transaction_of)]
"""The request's transaction of the caller's tenant: committed before the answer is sent.

Anything that the route raises rolls it back. A route that has it uses no handle besides: a handle's
statement would not be part of it, and is refused.
"""
