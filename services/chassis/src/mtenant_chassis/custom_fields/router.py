"""Routes of custom fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from mtenant_chassis.audit import Audit
from mtenant_chassis.auth.access import requires
from mtenant_chassis.custom_fields.errors import CustomFieldNotFound
from mtenant_chassis.custom_fields.field import CustomField, FieldType
from mtenant_chassis.custom_fields.fields import CustomFields
from mtenant_chassis.custom_fields.holders import Holders
from mtenant_chassis.custom_fields.values import Key
from mtenant_chassis.etag import IfMatch, set_etag
from mtenant_chassis.idempotency import idempotent
from mtenant_chassis.line import Name
from mtenant_chassis.openapi import raises
from mtenant_chassis.route import Router
from mtenant_chassis.tenancy import Tenant, Tx

Choices = Annotated[list[Name], Field(min_length=1, max_length=200)]


class NewCustomField(BaseModel):
    """A field that something should have."""

    model_config = ConfigDict(extra="forbid", strict=True)
    entity: str
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
    entity: str
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

    items: Sequence[CustomFieldView]


def custom_fields_router(path: str, holders: Holders) -> Router:
    """Return the routes of custom fields, for those who may `custom-fields:read` and `:manage`.

    Args:
        path: Where, such as `/api/custom-fields`.
        holders: What has the fields.
    """
    router = Router(prefix=path, tags=["custom fields"])
    new, view, listed = _models(holders)

    async def create(
        asked: NewCustomField, tx: Tx, audit: Audit, response: Response
    ) -> CustomFieldView:
        made = await CustomFields(holders, tx, audit).create(
            asked.entity, asked.key, label=asked.label, of=asked.type, choices=asked.choices
        )
        response.headers["location"] = f"{path}/{made.id}"
        set_etag(response, made.version)
        return view.of(made)

    create.__annotations__["asked"] = new  # with the entities of this service
    router.add_api_route(
        "",
        create,
        methods=["POST"],
        status_code=201,
        response_model=view,
        description=f"Let {holders.names} have a further field.",
        dependencies=[requires("custom-fields:manage"), idempotent()],
        responses=raises(409),
    )

    @router.get("", response_model=listed, dependencies=[requires("custom-fields:read")])
    async def list_fields(tenant: Tenant) -> CustomFieldList:
        """List the tenant's fields."""
        found = await holders.table.everything(tenant)
        return listed(items=[view.of(one) for one in found])

    @router.get("/{field_id}", response_model=view, dependencies=[requires("custom-fields:read")])
    async def get(field_id: UUID, tenant: Tenant, response: Response) -> CustomFieldView:
        """Return a field."""
        found = await holders.table.get(tenant, field_id)
        if found is None:
            raise CustomFieldNotFound
        set_etag(response, found.version)
        return view.of(found)

    @router.patch(
        "/{field_id}", response_model=view, dependencies=[requires("custom-fields:manage")]
    )
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
        after = await CustomFields(holders, tx, audit).change(
            field_id, label=asked.label, choices=asked.choices, condition=if_match
        )
        set_etag(response, after.version)
        return view.of(after)

    @router.delete(
        "/{field_id}",
        status_code=204,
        dependencies=[requires("custom-fields:manage")],
        responses=raises(409),
    )
    async def delete(field_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch) -> None:
        """Remove a field that nothing has a value of."""
        await CustomFields(holders, tx, audit).delete(field_id, if_match)

    return router


def _models(
    holders: Holders,
) -> tuple[type[NewCustomField], type[CustomFieldView], type[CustomFieldList]]:
    """Return the models above, with the entities of a service; one alone need not be said."""
    entity: Any = Literal[holders.entities]
    only = holders.entities[0] if len(holders.entities) == 1 else ...
    view = create_model(
        "CustomFieldView",
        __base__=CustomFieldView,
        __doc__=CustomFieldView.__doc__,
        entity=(entity, ...),
    )
    new = create_model(
        "NewCustomField",
        __base__=NewCustomField,
        __doc__=f"A field that {holders.names} should have.",
        entity=(entity, only),
    )
    items: Any = list[view]  # type: ignore[valid-type]  # made above
    listed = create_model(
        "CustomFieldList",
        __base__=CustomFieldList,
        __doc__=CustomFieldList.__doc__,
        items=(items, ...),
    )
    return new, view, listed
