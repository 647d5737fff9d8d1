"""GET and PATCH /api/auth/profile."""

from __future__ import annotations

from fastapi import Response

from auth_service.handlers import profile as handlers
from auth_service.routes.answer import User
from auth_service.routes.request import Body, CurrentPerson, Name
from mtenant_chassis import Audit, IfMatch, Router, Tenant, Tx, authenticated, set_etag

router = Router(prefix="/api/auth/profile", tags=["profile"])


class ProfilePatch(Body):
    """What a person says of themselves; a field that is missing stays as it is."""

    name: Name


@router.get("", dependencies=[authenticated()])
async def read(person: CurrentPerson, tenant: Tenant, response: Response) -> User:
    """Show the caller's own account."""
    user = await handlers.read(tenant, person.id, person.session)
    set_etag(response, user.version)
    return User.of(user)


@router.patch("", dependencies=[authenticated()])
async def change(
    *,
    body: ProfilePatch,
    person: CurrentPerson,
    tx: Tx,
    if_match: IfMatch,
    audit: Audit,
    response: Response,
) -> User:
    """Change the caller's own account."""
    user = await handlers.rename(
        tx, person.id, person.session, body.name, if_match=if_match, audit=audit
    )
    set_etag(response, user.version)
    return User.of(user)
