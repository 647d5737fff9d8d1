"""The route of many contacts at a time."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from contact_service.domain.columns import RowError
from contact_service.domain.contact import ContactFields
from contact_service.domain.imports import OnDuplicate
from contact_service.domain.text import Id
from contact_service.handlers.owners import Owners
from contact_service.handlers.upsert import Item, Outcome, Status, Upsert
from contact_service.queries import custom_fields
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    Router,
    Tx,
    idempotent,
    raises,
    requires,
)

MOST = 500


class BulkContact(ContactFields):
    """A contact; it is one that is there if its id, or else its address is."""

    id: Id | None = None


class Bulk(BaseModel):
    """Contacts, and what becomes of those that are there."""

    model_config = ConfigDict(extra="forbid", strict=True)
    contacts: Annotated[list[BulkContact], Field(min_length=1, max_length=MOST)]
    on_duplicate: OnDuplicate = "update"


class BulkError(BaseModel):
    """Why a contact was refused."""

    field: str | None
    code: str
    message: str

    @classmethod
    def of(cls, one: RowError) -> BulkError:
        """Return what is told of it."""
        return cls(field=one.field, code=one.code, message=one.message)


class BulkResult(BaseModel):
    """What became of a contact."""

    index: int = Field(description="its place in the request, from 0")
    status: Status
    contact_id: UUID | None
    errors: list[BulkError]

    @classmethod
    def of(cls, index: int, one: Outcome) -> BulkResult:
        """Return what is told of it."""
        errors = [BulkError.of(why) for why in one.errors]
        return cls(index=index, status=one.status, contact_id=one.contact_id, errors=errors)


class BulkResults(BaseModel):
    """What became of the contacts, in their order."""

    results: list[BulkResult]


def bulk_router(own: ContactServiceSettings) -> Router:
    """Return the route."""
    router = Router(tags=["contacts"])

    @router.post(
        "/api/contacts/bulk",
        dependencies=[requires("contacts:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def bulk(
        asked: Bulk, tx: Tx, who: CurrentPrincipal, audit: Audit, chassis: CurrentChassis
    ) -> BulkResults:
        """Make or change many contacts; those that are refused do not keep the others."""
        items = [
            Item(index, one.id, frozenset(one.model_fields_set - {"id"}), one)
            for index, one in enumerate(asked.contacts)
        ]
        upsert = Upsert(
            chassis,
            audit,
            Owners(chassis, own, tx.tenant or "", who.id),
            await custom_fields.TABLE.of(tx, "contact"),
            asked.on_duplicate,
        )
        outcomes = await upsert.apply(tx, items)
        found = [BulkResult.of(one.line, outcomes[one.line]) for one in items]
        return BulkResults(results=found)

    return router
