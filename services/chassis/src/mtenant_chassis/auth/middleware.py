"""AuthenticationMiddleware: whoever sends a token is known before anything else is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from mtenant_chassis.auth.principal import Principal
from mtenant_chassis.auth.token import LONGEST, InvalidToken
from mtenant_errors import AppError
from mtenant_events import event_context
from mtenant_logger import log_context

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Authenticate: TypeAlias = Callable[[str], Awaitable[Principal]]
"""From the text of a bearer token to a principal; raises InvalidToken."""


class AuthenticationMiddleware:
    """Put the principal of a request into `scope["state"]["principal"]`.

    A token that is not good is kept as an error, `scope["state"]["principal_error"]`, which the
    route raises if it wants to know who asks: a public route does not care. Lines that are
    logged meanwhile have the tenant's and the user's id.

    Args:
        app: The app inside.
        authenticate: Checks a token.
    """

    def __init__(self, app: ASGIApp, *, authenticate: Authenticate) -> None:
        self.app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the principal in place."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            token = bearer_token(scope)
            principal = None if token is None else await self._authenticate(token)
        except AppError as exc:
            state["principal_error"], principal = exc, None
        request_id = state.get("request_id")
        if principal is None:
            with event_context(correlation_id=request_id):
                await self.app(scope, receive, send)
            return
        state["principal"] = principal
        state["user_id"] = principal.id
        state["tenant_id"] = principal.tenant
        with (
            log_context(tenant_id=principal.tenant, user_id=principal.id),
            event_context(actor=principal.key, correlation_id=request_id),
        ):
            await self.app(scope, receive, send)


def bearer_token(scope: Scope) -> str | None:
    """Return the token of the Authorization field, or None if there is no such field.

    Raises:
        InvalidToken: There are two, or it is of another scheme.
    """
    found = [value for name, value in scope.get("headers", ()) if name == b"authorization"]
    if not found:
        return None
    if len(found) > 1 or len(found[0]) > LONGEST + 16:
        raise InvalidToken(internal="several Authorization fields, or one that is too long")
    field: bytes = found[0]
    scheme, _, token = field.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken(internal="a scheme that is not Bearer")
    return token.strip(" ")
