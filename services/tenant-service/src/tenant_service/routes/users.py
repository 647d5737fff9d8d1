"""The users of a tenant, as auth-service lists them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from mtenant_chassis import CurrentChassis, Page, PageQuery, Router, Tenant, raises, requires
from mtenant_errors import BadRequest
from tenant_service.domain.person import Email
from tenant_service.handlers.accounts import Accounts
from tenant_service.handlers.organizations import Organizations


class User(BaseModel):
    """An account."""

    id: str
    email: str
    name: str
    role: str
    status: str
    email_verified: bool
    created_at: datetime
    last_login_at: datetime | None


def users_router() -> Router:
    """Return the route of users."""
    router = Router(prefix="/api/tenants", tags=["users"])

    @router.get("/users", dependencies=[requires("users:read")], responses=raises(502))
    async def list_users(
        *,
        tenant: Tenant,
        chassis: CurrentChassis,
        page: PageQuery,
        email: Annotated[Email | None, Query()] = None,
    ) -> Page[User]:
        """List the accounts of the caller's tenant."""
        await Organizations(chassis).get(tenant)  # one that is gone is so before anybody is asked
        asked = {"limit": str(page.limit), "cursor": page.cursor, "email": email}
        if page.include_total:
            asked["include_total"] = "true"
        params = {name: value for name, value in asked.items() if value is not None}
        try:
            answer = await Accounts(chassis, tenant.id).page(params)
        except BadRequest as exc:
            if exc.code == "CURSOR_INVALID":
                raise exc.as_own() from exc
            raise
        found = Page[User].model_validate(answer)
        if found.next_cursor is not None:
            page.link(found.next_cursor)
        return found

    return router
