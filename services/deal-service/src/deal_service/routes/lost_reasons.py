"""Routes of reasons why deals are lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body as InBody
from fastapi import Response
from pydantic import BaseModel, with_config
from typing_extensions import TypedDict

from deal_service.domain.lost_reason import LostReason
from deal_service.domain.text import Key, Name
from deal_service.handlers import lost_reasons as handlers
from deal_service.queries import lost_reasons
from deal_service.routes.body import STRICT, Body
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


class NewLostReason(Body):
    """A reason."""

    key: Key
    name: Name


@with_config(STRICT)
class LostReasonChange(TypedDict, total=False):
    """Fields of a reason; what is left out stays as it is."""

    name: Name
    is_active: bool


class LostReasonView(BaseModel):
    """A reason why deals are lost."""

    id: UUID
    key: str
    name: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: LostReason) -> LostReasonView:
        """Return what may be seen of a reason."""
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class LostReasons(BaseModel):
    """All reasons, by their keys."""

    items: list[LostReasonView]


def lost_reasons_router() -> Router:
    """Return the routes of reasons."""
    router = Router(prefix="/api/lost-reasons", tags=["lost reasons"])

    @router.get("", dependencies=[requires("lost-reasons:read")])
    async def list_reasons(tenant: Tenant) -> LostReasons:
        """List all reasons."""
        rows = await lost_reasons.every(tenant)
        return LostReasons(items=[LostReasonView.of(one) for one in rows])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("lost-reasons:manage"), idempotent()],
        responses=raises(409),
    )
    async def create(
        asked: NewLostReason, tx: Tx, audit: Audit, response: Response
    ) -> LostReasonView:
        """Make a reason."""
        made = await handlers.create(tx, asked.key, asked.name, audit=audit)
        response.headers["location"] = f"/api/lost-reasons/{made.id}"
        return _told(made, response)

    @router.get("/{reason_id}", dependencies=[requires("lost-reasons:read")])
    async def get(reason_id: UUID, tenant: Tenant, response: Response) -> LostReasonView:
        """Return a reason."""
        return _told(await handlers.read(tenant, reason_id), response)

    @router.patch(
        "/{reason_id}", dependencies=[requires("lost-reasons:manage")], responses=raises(409)
    )
    async def change(
        *,
        reason_id: UUID,
        asked: Annotated[LostReasonChange, InBody()],
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> LostReasonView:
        """Give it another name, or take it out of use."""
        given: Mapping[str, Any] = asked
        changed = await handlers.change(tx, reason_id, given, if_match, audit=audit)
        return _told(changed, response)

    @router.delete(
        "/{reason_id}",
        status_code=204,
        dependencies=[requires("lost-reasons:manage")],
        responses=raises(409, 422),
    )
    async def delete(reason_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch) -> None:
        """Remove it; no deal may have been lost for it."""
        await handlers.delete(tx, reason_id, if_match, audit=audit)

    return router


def _told(one: LostReason, response: Response) -> LostReasonView:
    set_etag(response, one.version)
    return LostReasonView.of(one)
