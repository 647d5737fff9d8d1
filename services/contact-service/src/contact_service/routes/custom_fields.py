"""Routes of custom fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from contact_service.domain.custom_field import CustomField, Entity, FieldType, Key
from contact_service.domain.errors import CustomFieldNotFound
from contact_service.domain.text import Name
from contact_service.handlers.custom_fields import CustomFields
from contact_service.queries import custom_fields as rows
from mtenant_chassis import (
    Audit,
    IfMatch,
    Router,
    Tenant,
    Tx,
    idempotent,
    raises,
    requires,
    set_etag,
)

Choices = Annotated[list[Name], Field(min_length=1, max_length=200)]


class NewCustomField(BaseModel):
    """A field that contacts or companies should have."""

    model_config = ConfigDict(extra="forbid", strict=True)
    entity: Entity
    key: Key
    label: Name
    type: FieldType
    choices: Choices | None = None


class CustomFieldPatch(BaseModel):
    """What should be otherwise; key and type stay."""

    model_config = ConfigDict(extra="forbid", strict=True)
    label: Name | None = None
    choices: Choices | None = None


class CustomFieldView(BaseModel):
    """A custom field."""

    id: UUID
    entity: Entity
    key: str
    label: str
    type: FieldType
    choices: list[str] | None
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: CustomField) -> CustomFieldView:
        """Return what may be seen of a field."""
        return cls(**one.__dict__)


class CustomFieldList(BaseModel):
    """All fields of a tenant: there are a hundred at most."""

    items: list[CustomFieldView]


def custom_fields_router() -> Router:
    """Return the routes of custom fields."""
    router = Router(prefix="/api/custom-fields", tags=["custom fields"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("custom-fields:manage"), idempotent()],
        responses=raises(409),
    )
    async def create(
        asked: NewCustomField, tx: Tx, audit: Audit, response: Response
    ) -> CustomFieldView:
        """Let contacts or companies have a further field."""
        made = await CustomFields(tx, audit).create(
            asked.entity, asked.key, label=asked.label, of=asked.type, choices=asked.choices
        )
        response.headers["location"] = f"/api/custom-fields/{made.id}"
        set_etag(response, made.version)
        return CustomFieldView.of(made)

    @router.get("", dependencies=[requires("custom-fields:read")])
    async def list_fields(tenant: Tenant) -> CustomFieldList:
        """List the tenant's fields."""
        found = await rows.everything(tenant)
        return CustomFieldList(items=[CustomFieldView.of(one) for one in found])

    @router.get("/{field_id}", dependencies=[requires("custom-fields:read")])
    async def get(field_id: UUID, tenant: Tenant, response: Response) -> CustomFieldView:
        """Return a field."""
        found = await rows.get(tenant, field_id)
        if found is None:
            raise CustomFieldNotFound
        set_etag(response, found.version)
        return CustomFieldView.of(found)

    @router.patch("/{field_id}", dependencies=[requires("custom-fields:manage")])
    async def patch(
        *,
        field_id: UUID,
        asked: CustomFieldPatch,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> CustomFieldView:
        """Call a field something else, or let it have other choices; values that are there stay."""
        after = await CustomFields(tx, audit).change(
            field_id, label=asked.label, choices=asked.choices, condition=if_match
        )
        set_etag(response, after.version)
        return CustomFieldView.of(after)

    @router.delete(
        "/{field_id}",
        status_code=204,
        dependencies=[requires("custom-fields:manage")],
        responses=raises(409),
    )
    async def delete(field_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch) -> None:
        """Remove a field that nothing has a value of."""
        await CustomFields(tx, audit).delete(field_id, if_match)

    return router
