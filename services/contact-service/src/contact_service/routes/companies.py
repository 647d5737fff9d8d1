"""Routes of companies."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field

from contact_service.domain.company import Branch, Company, CompanyFields, CompanyPatch
from contact_service.domain.contact import ContactPatch
from contact_service.domain.errors import CompanyNotFound, ContactNotFound
from contact_service.handlers.companies import Companies
from contact_service.handlers.contacts import Contacts
from contact_service.queries import companies as rows
from contact_service.queries import contacts
from contact_service.routes.contacts import ContactView
from contact_service.routes.filters import CompanyFilters, SortQuery, after
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

_MOST_BRANCHES = 1000


class CompanyView(BaseModel):
    """A company."""

    id: UUID
    name: str
    domain: str | None
    industry: str | None
    phone: str | None
    parent_id: UUID | None
    owner_id: str | None
    custom: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Company) -> CompanyView:
        """Return what may be seen of a company."""
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class BranchView(BaseModel):
    """A company in its place of a hierarchy."""

    id: UUID
    name: str
    parent_id: UUID | None
    depth: int = Field(description="how far below the company that was asked for")

    @classmethod
    def of(cls, one: Branch) -> BranchView:
        """Return what may be seen of it."""
        return cls(**one.__dict__)


class Tree(BaseModel):
    """A company and those below it, the nearest first."""

    items: list[BranchView]
    complete: bool = Field(description="false: there are more than a thousand")


def companies_router(own: ContactServiceSettings) -> Router:
    """Return the routes of companies."""
    router = Router(prefix="/api/companies", tags=["companies"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("companies:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def create(
        *,
        asked: CompanyFields,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> CompanyView:
        """Make a company."""
        made = await Companies(chassis, own, tx, audit, who).create(asked)
        response.headers["location"] = f"/api/companies/{made.id}"
        set_etag(response, made.version)
        return CompanyView.of(made)

    @router.get("", dependencies=[requires("companies:read")])
    async def list_companies(
        tenant: Tenant, page: PageQuery, filters: CompanyFilters, sort: SortQuery = "-created_at"
    ) -> Page[CompanyView]:
        """List or search companies; `custom.<key>=` filters by custom fields."""
        begin = after(page, filters, sort)
        asked = await filters.of(tenant, "company", sort)
        if asked is None:
            return Page(items=[], total=0 if page.include_total else None)
        found = await rows.page(tenant, asked, after=begin, limit=page.limit + 1)
        keys = {one.id: key for one, key in found}
        name = asked.key
        return page.of(
            [CompanyView.of(one) for one, _ in found],
            key=lambda one: (keys[one.id] if name == "name" else getattr(one, name), one.id),
            total=await page.total(lambda: rows.count(tenant, asked)),
        )

    @router.get("/{company_id}", dependencies=[requires("companies:read")])
    async def get(company_id: UUID, tenant: Tenant, response: Response) -> CompanyView:
        """Return a company."""
        found = await rows.get(tenant, company_id)
        if found is None:
            raise CompanyNotFound
        set_etag(response, found.version)
        return CompanyView.of(found)

    @router.put("/{company_id}", dependencies=[requires("companies:write")], responses=raises(502))
    async def replace(
        *,
        company_id: UUID,
        asked: CompanyFields,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: RequiredIfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> CompanyView:
        """Replace what is known of a company; what is left out has its default again."""
        companies = Companies(chassis, own, tx, audit, who)
        company = await companies.replace(company_id, asked, if_match)
        set_etag(response, company.version)
        return CompanyView.of(company)

    @router.patch(
        "/{company_id}", dependencies=[requires("companies:write")], responses=raises(502)
    )
    async def patch(
        *,
        company_id: UUID,
        asked: CompanyPatch,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> CompanyView:
        """Change a company by a merge patch (RFC 7396): null takes a value away."""
        companies = Companies(chassis, own, tx, audit, who)
        company = await companies.patch(company_id, asked, if_match)
        set_etag(response, company.version)
        return CompanyView.of(company)

    @router.delete(
        "/{company_id}",
        status_code=204,
        dependencies=[requires("companies:delete")],
        responses=raises(409),
    )
    async def delete(
        *,
        company_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
    ) -> None:
        """Delete a company that nothing belongs to; it can be restored."""
        await Companies(chassis, own, tx, audit, who).delete(company_id, if_match)

    @router.post(
        "/{company_id}/restore",
        dependencies=[requires("companies:delete"), idempotent()],
        responses=raises(409),
    )
    async def restore(
        *,
        company_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> CompanyView:
        """Bring a deleted company back."""
        back = await Companies(chassis, own, tx, audit, who).restore(company_id)
        set_etag(response, back.version)
        return CompanyView.of(back)

    @router.get("/{company_id}/tree", dependencies=[requires("companies:read")])
    async def tree(company_id: UUID, tenant: Tenant) -> Tree:
        """Return a company and those below it."""
        found = await rows.below(tenant, company_id, limit=_MOST_BRANCHES + 1)
        if not found:
            raise CompanyNotFound
        items = [BranchView.of(one) for one in found[:_MOST_BRANCHES]]
        return Tree(items=items, complete=len(found) <= _MOST_BRANCHES)

    return router


def workplaces_router(own: ContactServiceSettings) -> Router:
    """Return the routes of who works where."""
    router = Router(prefix="/api/companies", tags=["companies"])

    @router.put(
        "/{company_id}/contacts/{contact_id}",
        dependencies=[requires("contacts:write")],
        responses=raises(422),
    )
    async def associate(
        *,
        company_id: UUID,
        contact_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> ContactView:
        """Let a contact work here, and nowhere else any more."""
        if not await rows.hold(tx, [company_id]):
            raise CompanyNotFound
        patch = ContactPatch(company_id=company_id)
        changed = await Contacts(chassis, own, tx, audit, who).patch(contact_id, patch, if_match)
        set_etag(response, changed.version)
        return ContactView.of(changed)

    @router.delete(
        "/{company_id}/contacts/{contact_id}",
        status_code=204,
        dependencies=[requires("contacts:write")],
    )
    async def dissociate(
        *,
        company_id: UUID,
        contact_id: UUID,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
    ) -> None:
        """Let a contact work here no more."""
        found = await contacts.lock(tx, contact_id)
        if found is None or found.deleted_at is not None or found.company_id != company_id:
            raise ContactNotFound
        patch = ContactPatch(company_id=None)
        await Contacts(chassis, own, tx, audit, who).patch(contact_id, patch, if_match)

    return router
