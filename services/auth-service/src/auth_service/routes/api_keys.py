"""GET and POST /api/auth/api-keys, DELETE /api/auth/api-keys/{key_id}."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from auth_service.handlers import api_keys as handlers
from auth_service.queries.api_keys import ApiKey as Row
from auth_service.routes.answer import NoStore
from auth_service.routes.request import Body, CurrentPerson, Name
from mtenant_chassis import Audit, Router, Tenant, Tx, authenticated
from mtenant_chassis.auth import VERBS

router = Router(prefix="/api/auth/api-keys", tags=["api keys"])

Scope = Annotated[
    str, StringConstraints(max_length=64, pattern=f"^[a-z][a-z0-9-]*:({'|'.join(VERBS)})$")
]
"""A permission, such as `contacts:read`."""


def _whole(value: Any) -> Any:
    # To JSON 30.0 is an integer (JSON Schema, 4.2.3); strict validation does not think so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class NewKey(Body):
    """A key that is wanted."""

    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=50)
    expires_in_days: Annotated[int | None, BeforeValidator(_whole)] = Field(
        default=None, ge=1, le=3650, description="null: never"
    )


class ApiKey(BaseModel):
    """A key, without its secret."""

    id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class MadeKey(ApiKey):
    """A new key. Its secret is shown this once."""

    client_id: str
    client_secret: str


class ApiKeys(BaseModel):
    """The caller's keys."""

    items: list[ApiKey]


@router.post("", status_code=201, dependencies=[authenticated()])
async def make(body: NewKey, person: CurrentPerson, tx: Tx, audit: Audit, _: NoStore) -> MadeKey:
    """Make a key, by which a program gets tokens of the caller at `/api/auth/token`."""
    days = body.expires_in_days
    made = await handlers.make(
        tx,
        person.id,
        person.session,
        name=body.name,
        scopes=sorted(set(body.scopes)),
        lifetime=None if days is None else timedelta(days=days),
        audit=audit,
    )
    return MadeKey(
        **_shown(made.key).model_dump(), client_id=made.client_id, client_secret=made.secret
    )


@router.get("", dependencies=[authenticated()])
async def list_keys(person: CurrentPerson, tenant: Tenant) -> ApiKeys:
    """List the caller's keys."""
    found = await handlers.list_keys(tenant, person.id, person.session)
    return ApiKeys(items=[_shown(row) for row in found])


@router.delete("/{key_id}", status_code=204, dependencies=[authenticated()])
async def revoke(key_id: UUID, person: CurrentPerson, tx: Tx, audit: Audit) -> None:
    """End a key of the caller."""
    await handlers.revoke(tx, person.id, person.session, key_id, audit=audit)


def _shown(row: Row) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
