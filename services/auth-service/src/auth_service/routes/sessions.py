"""GET and DELETE /api/auth/sessions, DELETE /api/auth/sessions/{session_id}."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

from auth_service.handlers import sessions as handlers
from auth_service.routes.request import CurrentPerson
from auth_service.service import CurrentService
from mtenant_chassis import Audit, Router, Tenant, authenticated

router = Router(prefix="/api/auth/sessions", tags=["sessions"])


class Session(BaseModel):
    """A login that is not over."""

    id: UUID
    user_agent: str | None
    address: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class Sessions(BaseModel):
    """The caller's logins, the last used first."""

    items: list[Session]


@router.get("", dependencies=[authenticated()])
async def list_sessions(person: CurrentPerson, tenant: Tenant) -> Sessions:
    """List where the caller is logged in."""
    found = await handlers.list_sessions(tenant, person.id, person.session)
    return Sessions(
        items=[
            Session(
                id=one.id,
                user_agent=one.user_agent,
                address=one.address,
                created_at=one.created_at,
                last_seen_at=one.last_seen_at,
                expires_at=one.expires_at,
                current=one.id == person.session,
            )
            for one in found
        ]
    )


@router.delete("", status_code=204, dependencies=[authenticated()])
async def revoke_all(
    service: CurrentService,
    person: CurrentPerson,
    tenant: Tenant,
    audit: Audit,
    keep_current: Annotated[bool, Query(description="whether this one stays")] = False,
) -> None:
    """End every session of the caller."""
    await handlers.revoke_all(
        service, tenant, person.id, person.session, keep=keep_current, audit=audit
    )


@router.delete("/{session_id}", status_code=204, dependencies=[authenticated()])
async def revoke_one(
    session_id: UUID,
    service: CurrentService,
    person: CurrentPerson,
    tenant: Tenant,
    audit: Audit,
) -> None:
    """End one session of the caller."""
    await handlers.revoke_one(
        service, tenant, person.id, person.session, session=session_id, audit=audit
    )
