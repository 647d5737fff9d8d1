"""Routes of the contacts that belong to a deal."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel

from deal_service.domain.deal import Association
from deal_service.domain.text import Id, Name
from deal_service.handlers.contacts import associate, dissociate
from deal_service.handlers.deals import found
from deal_service.queries import contacts
from deal_service.routes.body import Body
from deal_service.settings import DealServiceSettings
from mtenant_chassis import Audit, CurrentChassis, Router, Tenant, Tx, idempotent, raises, requires


class NewAssociation(Body):
    """A contact, and what it is in the deal."""

    contact_id: Id
    role: Name | None = None


class AssociationView(BaseModel):
    """A contact that belongs to a deal."""

    contact_id: UUID
    role: str | None
    added_at: datetime

    @classmethod
    def of(cls, one: Association) -> AssociationView:
        """Return what may be seen of it."""
        return cls(contact_id=one.contact_id, role=one.role, added_at=one.added_at)


class Associations(BaseModel):
    """All contacts of a deal, the first one first; there are fifty at most."""

    items: list[AssociationView]


def contacts_router(own: DealServiceSettings) -> Router:
    """Return the routes of contacts."""
    router = Router(prefix="/api/deals/{deal_id}/contacts", tags=["contacts"])

    @router.get("", dependencies=[requires("deals:read")])
    async def list_contacts(deal_id: UUID, tenant: Tenant) -> Associations:
        """List who belongs to a deal."""
        await found(tenant, deal_id)
        rows = await contacts.of_deal(tenant, deal_id)
        return Associations(items=[AssociationView.of(one) for one in rows])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("deals:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def add(
        *,
        deal_id: UUID,
        asked: NewAssociation,
        tx: Tx,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> AssociationView:
        """Let a contact belong to a deal."""
        made = await associate(
            tx, deal_id, asked.contact_id, asked.role, chassis=chassis, own=own, audit=audit
        )
        response.headers["location"] = f"/api/deals/{deal_id}/contacts"
        return AssociationView.of(made)

    @router.delete("/{contact_id}", status_code=204, dependencies=[requires("deals:write")])
    async def remove(deal_id: UUID, contact_id: UUID, tx: Tx, audit: Audit) -> None:
        """Let a contact belong to a deal no more."""
        await dissociate(tx, deal_id, contact_id, audit=audit)

    return router
