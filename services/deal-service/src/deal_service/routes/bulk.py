"""The route of many deals at once."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from deal_service.domain.text import Id
from deal_service.handlers.bulk import Alteration, Bulk, Done
from deal_service.handlers.deals import Opening, user_of
from deal_service.routes.body import Body
from deal_service.routes.deals import DealChange, DealView, NewDeal
from deal_service.settings import DealServiceSettings
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

MOST: Final = 200
"""Items of one request, at most."""


class ToCreate(Body):
    """A deal that begins."""

    create: NewDeal


class ToChange(Body):
    """A deal that is changed."""

    id: Id
    version: int | None = Field(
        default=None, ge=1, description="only this version of it, as If-Match has it"
    )
    change: DealChange


class Batch(Body):
    """Things to do, one after the other."""

    items: Annotated[list[ToCreate | ToChange], Field(min_length=1, max_length=MOST)]


class Refusal(BaseModel):
    """Why nothing was done, as a problem says it."""

    code: str
    detail: str


class Result(BaseModel):
    """What became of an item."""

    index: int = Field(description="of the item, from 0")
    status: int = Field(description="as the route for one deal answers")
    id: UUID | None
    deal: DealView | None
    error: Refusal | None

    @classmethod
    def of(cls, index: int, done: Done, item: Opening | Alteration) -> Result:
        """Return what is told of it."""
        deal = None if done.deal is None else DealView.of(done.deal)
        error = None
        if done.error is not None:
            error = Refusal(code=done.error.code, detail=done.error.message)
        known = None if deal is None else deal.id
        if isinstance(item, Alteration):
            known = item.id
        return cls(index=index, status=done.status, id=known, deal=deal, error=error)


class Results(BaseModel):
    """What became of all items, in their order."""

    status: Literal["done", "partly", "refused"]
    results: list[Result]


def bulk_router(own: DealServiceSettings) -> Router:
    """Return the route."""
    router = Router(tags=["deals"])

    @router.post(
        "/api/deals/bulk",
        dependencies=[requires("deals:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def bulk(
        *,
        asked: Batch,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
    ) -> Results:
        """Begin and change up to 200 deals. Each item is done or refused for itself."""
        items: list[Opening | Alteration] = [
            one.create.opening(user_of(who))
            if isinstance(one, ToCreate)
            else Alteration(one.id, one.version, one.change)
            for one in asked.items
        ]
        done = await Bulk(chassis, own, audit).run(tx, who, items)
        results = [
            Result.of(index, one, item)
            for index, (one, item) in enumerate(zip(done, items, strict=True))
        ]
        refused = sum(one.error is not None for one in results)
        if refused == 0:
            return Results(status="done", results=results)
        return Results(status="refused" if refused == len(results) else "partly", results=results)

    return router
