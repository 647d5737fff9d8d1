"""Tokens: /api/auth/token, /validate-token, /validate, /introspect."""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_plus

from fastapi import Form, Query, Request
from pydantic import BaseModel

from auth_service.domain.errors import ClientUnknown
from auth_service.handlers import tokens as handlers
from auth_service.routes.answer import AccessTokenAnswer, NoStore
from auth_service.routes.request import TenantId
from auth_service.service import CurrentService, Service
from mtenant_chassis import RateLimit, Router, by_address, limited, public, raises, services_only
from mtenant_chassis.auth import InvalidToken
from mtenant_chassis.auth.access import TokenMissing
from mtenant_chassis.auth.middleware import bearer_token

router = Router(tags=["tokens"])

_CLIENTS: Final = RateLimit("client-credentials", most=600, seconds=60)
_BEARER: Final[dict[str, Any]] = {"security": [{"bearer": []}]}

Field = Annotated[str | None, Form(min_length=1, max_length=512)]
"""A field of the form that may be missing."""


class Claims(BaseModel):
    """What an access token says (RFC 9068, 2.2); `roles` are the present ones."""

    iss: str
    aud: str
    sub: str
    iat: int
    exp: int
    jti: str
    client_kind: Literal["user", "service"]
    roles: list[str]
    tenant_id: str | None = None
    sid: str | None = None
    scope: str | None = None


class Introspection(BaseModel):
    """Whether a token is good, and what it says then (RFC 7662, 2.2)."""

    active: bool
    token_type: Literal["Bearer"] | None = None
    iss: str | None = None
    aud: str | None = None
    sub: str | None = None
    iat: int | None = None
    exp: int | None = None
    jti: str | None = None
    client_kind: Literal["user", "service"] | None = None
    roles: list[str] | None = None
    tenant_id: str | None = None
    sid: str | None = None
    scope: str | None = None


@router.post(
    "/api/auth/token",
    dependencies=[public(), limited(_CLIENTS, by=by_address)],
    responses=raises(401, 403),
)
async def token(
    *,
    request: Request,
    service: CurrentService,
    grant_type: Annotated[Literal["client_credentials"], Form()],
    _: NoStore,
    audience: Field = None,
    tenant: Annotated[TenantId | None, Form()] = None,
    client_id: Field = None,
    client_secret: Field = None,
) -> AccessTokenAnswer:
    """Get an access token with the secret of a service or of an API key (RFC 6749, 4.4).

    The client says who it is by HTTP Basic, or by `client_id` and `client_secret`.
    """
    credentials = _basic(request)
    if not credentials and client_id is not None and client_secret is not None:
        credentials = [(client_id, client_secret)]
    for name, secret in credentials:
        with suppress(ClientUnknown):
            issued = await handlers.for_client(
                service, name, secret, audience=audience, tenant=tenant
            )
            return AccessTokenAnswer.of_client(issued)
    raise ClientUnknown


@router.get(
    "/api/auth/validate-token",
    dependencies=[public()],
    responses=raises(401),
    openapi_extra=_BEARER,
    response_model_exclude_none=True,
)
async def validate_token(request: Request, service: CurrentService, _: NoStore) -> Claims:
    """Tell what the token that is sent says, if it is good and its session is not over."""
    text = bearer_token(request.scope)
    if text is None:
        raise TokenMissing
    return await _claims(service, text)


@router.get(
    "/validate",
    dependencies=[public()],
    responses=raises(401),
    openapi_extra=_BEARER,
    response_model_exclude_none=True,
    deprecated=True,
)
async def validate(
    request: Request,
    service: CurrentService,
    _: NoStore,
    token: Annotated[str | None, Query(max_length=8192, pattern=r"^[\x20-\x7e]*$")] = None,
) -> Claims:
    """Tell the same, of a token in the query: but URLs are written down by whoever passes them on."""
    text = token if token is not None else bearer_token(request.scope)
    if text is None:
        raise TokenMissing
    return await _claims(service, text)


@router.post(
    "/api/auth/introspect", dependencies=[services_only()], response_model_exclude_none=True
)
async def introspect(
    service: CurrentService, token: Annotated[str, Form(min_length=1, max_length=8192)], _: NoStore
) -> Introspection:
    """Tell a service whether somebody's token is good (RFC 7662)."""
    try:
        claims = await _claims(service, token)
    except InvalidToken:
        return Introspection(active=False)
    return Introspection.model_validate(
        {**claims.model_dump(), "active": True, "token_type": "Bearer"}
    )


async def _claims(service: Service, text: str) -> Claims:
    said = await handlers.check(service, text)
    return Claims.model_validate(said.claims())


def _basic(request: Request) -> list[tuple[str, str]]:
    """Return what HTTP Basic says: as it stands, and decoded once more (RFC 6749, 2.3.1).

    Many clients leave the second encoding out, and a secret may hold a `+` or a `%`.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        text = b64decode(given.strip(), validate=True).decode()
    except ValueError:
        raise ClientUnknown from None
    name, colon, secret = text.partition(":")
    if not colon:
        raise ClientUnknown
    return list(dict.fromkeys([(name, secret), (unquote_plus(name), unquote_plus(secret))]))
