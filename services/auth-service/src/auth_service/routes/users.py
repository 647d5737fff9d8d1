"""Users: list, read, make (services), role, disable, enable."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from auth_service.domain.email import Email
from auth_service.domain.password import NewPassword
from auth_service.handlers import users as handlers
from auth_service.handlers.users import NewUser
from auth_service.queries import users as queries
from auth_service.routes.answer import ListedUser, Status, User
from auth_service.routes.request import Body, Name
from auth_service.service import CurrentService
from mtenant_chassis import (
    Audit,
    CurrentPrincipal,
    IfMatch,
    Page,
    PageQuery,
    Router,
    Tenant,
    raises,
    requires,
    services_only,
    set_etag,
)
from mtenant_chassis.auth import Role

router = Router(prefix="/api/auth/users", tags=["users"])


class NewAccount(Body):
    """An account that a service makes for somebody."""

    email: Email
    name: Name
    role: Role
    password: NewPassword | None = None
    email_verified: bool = False


class NewRole(Body):
    """What a user is to be."""

    role: Role


@router.get("", dependencies=[requires("users:read")])
async def list_users(
    tenant: Tenant,
    page: PageQuery,
    email: Annotated[Email | None, Query()] = None,
    role: Role | None = None,
    status: Status | None = None,
) -> Page[ListedUser]:
    """List the tenant's users, oldest first."""
    after = page.after(datetime, UUID, of=("created_at, id", email, role, status))
    which = {"email": email, "role": role, "status": status}
    rows = await queries.page(tenant, **which, after=after, limit=page.limit + 1)
    return page.of(
        [ListedUser.of(row) for row in rows],
        key=lambda user: (user.created_at, user.id),
        total=await page.total(lambda: queries.count(tenant, **which)),
    )


@router.get("/{user_id}", dependencies=[requires("users:read")])
async def read(user_id: UUID, tenant: Tenant, response: Response) -> User:
    """Show a user."""
    return _answer(await handlers.read(tenant, user_id), response)


@router.put(
    "/{user_id}",
    dependencies=[services_only("users:manage")],
    responses={201: {"model": User, "description": "Made"}, **raises(409)},
)
async def put(
    *,
    user_id: UUID,
    body: NewAccount,
    service: CurrentService,
    tenant: Tenant,
    audit: Audit,
    response: Response,
) -> User:
    """Make an account under an id of the caller's choice; the same again finds it, and changes nothing."""
    new = NewUser(
        id=user_id,
        email=body.email,
        name=body.name,
        role=body.role,
        password=body.password,
        verified=body.email_verified,
    )
    user, made = await handlers.put(service, tenant, new, audit=audit)
    response.status_code = 201 if made else 200
    return _answer(user, response)


@router.put("/{user_id}/role", dependencies=[requires("users:manage")])
async def set_role(
    *,
    user_id: UUID,
    body: NewRole,
    service: CurrentService,
    tenant: Tenant,
    principal: CurrentPrincipal,
    if_match: IfMatch,
    audit: Audit,
    response: Response,
) -> User:
    """Give a user another role, at most the caller's own."""
    user = await handlers.set_role(
        service, tenant, principal, user_id, body.role, if_match=if_match, audit=audit
    )
    return _answer(user, response)


@router.post("/{user_id}/disable", dependencies=[requires("users:manage")], responses=raises(422))
async def disable(
    *,
    user_id: UUID,
    service: CurrentService,
    tenant: Tenant,
    principal: CurrentPrincipal,
    if_match: IfMatch,
    audit: Audit,
    response: Response,
) -> User:
    """Let a user in no more; every session ends."""
    user = await handlers.set_status(
        service, tenant, principal, user_id, "disabled", if_match=if_match, audit=audit
    )
    return _answer(user, response)


@router.post("/{user_id}/enable", dependencies=[requires("users:manage")], responses=raises(422))
async def enable(
    *,
    user_id: UUID,
    service: CurrentService,
    tenant: Tenant,
    principal: CurrentPrincipal,
    if_match: IfMatch,
    audit: Audit,
    response: Response,
) -> User:
    """Let a user in again."""
    user = await handlers.set_status(
        service, tenant, principal, user_id, "active", if_match=if_match, audit=audit
    )
    return _answer(user, response)


def _answer(row: queries.User, response: Response) -> User:
    set_etag(response, row.version)
    return User.of(row)
