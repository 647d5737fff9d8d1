"""Routes of contacts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contact_service.domain.contact import Contact, ContactFields, ContactPatch, Status
from contact_service.domain.text import Email, Id, Line
from contact_service.handlers.contacts import Contacts, Why, duplicates
from contact_service.handlers.lookup import Lookup
from contact_service.queries import contacts as rows
from contact_service.routes.filters import ContactFilters, SortQuery, after
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    IfMatch,
    Page,
    PageQuery,
    RequiredIfMatch,
    Router,
    Tenant,
    Tx,
    idempotent,
    raises,
    requires,
    set_etag,
)


class ContactView(BaseModel):
    """A contact."""

    id: UUID
    name: str = Field(description="first and last name, or else the address")
    first_name: str
    last_name: str
    email: str | None
    phone: str | None
    job_title: str | None
    status: Status
    company_id: UUID | None
    owner_id: str | None
    custom: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Contact) -> ContactView:
        """Return what may be seen of a contact."""
        return cls.model_validate(one, from_attributes=True)


_VIEWS: Final = TypeAdapter(list[ContactView])  # a page of them at once


class Merge(BaseModel):
    """Contacts that become part of another one."""

    model_config = ConfigDict(extra="forbid", strict=True)
    contact_ids: Annotated[list[Id], Field(min_length=1, max_length=20)]


class Candidate(BaseModel):
    """A contact that may be the one that was meant."""

    contact: ContactView
    why: Why = Field(description="what is the same")


class Candidates(BaseModel):
    """At most ten contacts."""

    items: list[Candidate]


def contacts_router(own: ContactServiceSettings) -> Router:
    """Return the routes of contacts."""
    router = Router(prefix="/api/contacts", tags=["contacts"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("contacts:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def create(
        *,
        asked: ContactFields,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
        allow_duplicates: Annotated[
            bool, Query(description="also if phone, or name and company, are another contact's")
        ] = False,
    ) -> ContactView:
        """Make a contact; 409 with candidates if there may be one already."""
        contacts = Contacts(chassis, own, tx, audit, who)
        made = await contacts.create(asked, allow_duplicates=allow_duplicates)
        response.headers["location"] = f"/api/contacts/{made.id}"
        set_etag(response, made.version)
        return ContactView.of(made)

    @router.get("", dependencies=[requires("contacts:read")])
    async def list_contacts(
        tenant: Tenant, page: PageQuery, filters: ContactFilters, sort: SortQuery = "-created_at"
    ) -> Page[ContactView]:
        """List or search contacts; `custom.<key>=` filters by custom fields."""
        begin = after(page, filters, sort)
        asked = await filters.of(tenant, "contact", sort)
        if asked is None:
            return Page(items=[], total=0 if page.include_total else None)
        found = await rows.page(tenant, asked, after=begin, limit=page.limit + 1)
        keys = {one.id: key for one, key in found}
        name = asked.key
        return page.of(
            _VIEWS.validate_python([one for one, _ in found], from_attributes=True),
            key=lambda one: (keys[one.id] if name == "name" else getattr(one, name), one.id),
            total=await page.total(lambda: rows.count(tenant, asked)),
        )

    @router.get("/duplicates", dependencies=[requires("contacts:read")])
    async def find_duplicates(
        *,
        tenant: Tenant,
        email: Annotated[Email | None, Query()] = None,
        phone: Annotated[Line | None, Query()] = None,
        first_name: Annotated[Line, Query()] = "",
        last_name: Annotated[Line, Query()] = "",
        company_id: Annotated[UUID | None, Query()] = None,
    ) -> Candidates:
        """Find contacts that may be the same: by address, phone, or name and company."""
        asked = ContactFields(
            email=email,
            phone=phone,
            first_name=first_name,
            last_name=last_name,
            company_id=company_id,
        )
        found = await duplicates(tenant, asked)
        items = [Candidate(contact=ContactView.of(one), why=why) for one, why in found]
        return Candidates(items=items)

    @router.get("/{contact_id}", dependencies=[requires("contacts:read")])
    async def get(
        contact_id: UUID, tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> ContactView:
        """Return a contact."""
        found = ContactView(**await Lookup(chassis, tenant.id).get(tenant, contact_id))
        set_etag(response, found.version)
        return found

    @router.put(
        "/{contact_id}", dependencies=[requires("contacts:write")], responses=raises(409, 502)
    )
    async def replace(
        *,
        contact_id: UUID,
        asked: ContactFields,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: RequiredIfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> ContactView:
        """Replace what is known of a contact; what is left out has its default again."""
        contacts = Contacts(chassis, own, tx, audit, who)
        after = await contacts.replace(contact_id, asked, if_match)
        set_etag(response, after.version)
        return ContactView.of(after)

    @router.patch(
        "/{contact_id}", dependencies=[requires("contacts:write")], responses=raises(409, 502)
    )
    async def patch(
        *,
        contact_id: UUID,
        asked: ContactPatch,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> ContactView:
        """Change a contact by a merge patch (RFC 7396): null takes a value away."""
        contacts = Contacts(chassis, own, tx, audit, who)
        after = await contacts.patch(contact_id, asked, if_match)
        set_etag(response, after.version)
        return ContactView.of(after)

    @router.delete("/{contact_id}", status_code=204, dependencies=[requires("contacts:delete")])
    async def delete(
        *,
        contact_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
    ) -> None:
        """Delete a contact; it can be restored."""
        await Contacts(chassis, own, tx, audit, who).delete(contact_id, if_match)

    @router.post(
        "/{contact_id}/restore",
        dependencies=[requires("contacts:delete"), idempotent()],
        responses=raises(409),
    )
    async def restore(
        *,
        contact_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> ContactView:
        """Bring a deleted contact back."""
        back = await Contacts(chassis, own, tx, audit, who).restore(contact_id)
        set_etag(response, back.version)
        return ContactView.of(back)

    @router.post(
        "/{contact_id}/purge",
        status_code=204,
        dependencies=[requires("contacts:manage")],
        responses=raises(409),
    )
    async def purge(
        *,
        contact_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
    ) -> None:
        """Remove a deleted contact for good, with what the audit trail says of its values."""
        await Contacts(chassis, own, tx, audit, who).purge(contact_id)

    @router.post(
        "/{contact_id}/merge",
        dependencies=[requires("contacts:delete"), idempotent()],
        responses=raises(409),
    )
    async def merge(
        *,
        contact_id: UUID,
        asked: Merge,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> ContactView:
        """Let a contact take what it lacks from others, in their order; the others are deleted."""
        contacts = Contacts(chassis, own, tx, audit, who)
        merged = await contacts.merge(contact_id, asked.contact_ids, if_match)
        set_etag(response, merged.version)
        return ContactView.of(merged)

    return router
