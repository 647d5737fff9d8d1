"""TenantMiddleware: the tenant of a request, as a handle.

```python
app.add_middleware(TenantMiddleware, database=db, resolve=tenant_of)       # Starlette, FastAPI
app = TenantMiddleware(app, database=db, resolve=tenant_of)                # any ASGI app
```

`resolve` says which tenant a request is for, and is the place where that is decided to be true: from
a token whose signature was checked, or from a host name; never from a header that a client can
write. The handle is `scope["state"]["tenant"]` (`request.state.tenant`) and `current_tenant()`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from mtenant_database.abc import TenantSource
from mtenant_database.errors import TenantRequired
from mtenant_database.tenant import Tenant

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Resolve: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]

_current: ContextVar[Tenant | None] = ContextVar("mtenant_database.tenant", default=None)


def current_tenant() -> Tenant:
    """Return the handle of the request's tenant, for code that cannot be handed one.

    Tasks that the request starts have it too.

    Raises:
        TenantRequired: There is none: this is no request, or one that names no tenant.
    """
    tenant = _current.get()
    if tenant is None:
        raise TenantRequired(internal="no request with a tenant is being answered here")
    return tenant


class TenantMiddleware:
    """Give each HTTP and websocket request the handle of its tenant.

    A request that names none passes without one: `current_tenant()` raises there, and the route
    decides. A text that is no tenant id is `InvalidTenantId` (400).

    Args:
        app: The app inside.
        database: Where handles come from: a `Database`, a `ReadWriteRouter` or `Databases`; it may be opened
            later, by the app's lifespan.
        resolve: Returns the tenant's id for an ASGI scope, or None; may be async. What it raises is
            the answer, such as `Unauthorized`.
    """

    def __init__(self, app: ASGIApp, *, database: TenantSource[Any], resolve: Resolve) -> None:
        self.app = app
        self._database = database
        self._resolve = resolve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the handle in place."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        asked = self._resolve(scope)
        name = await asked if inspect.isawaitable(asked) else asked
        made = None if name is None else self._database.tenant(name)
        tenant = await made if inspect.isawaitable(made) else made
        if tenant is not None:
            scope.setdefault("state", {})["tenant"] = tenant
        # None is set too: a request that is made inside another one must not have its tenant.
        token = _current.set(tenant)
        try:
            await self.app(scope, receive, send)
        finally:
            _current.reset(token)
