"""Routes of deals."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Body as InBody
from fastapi import Query, Response
from pydantic import AfterValidator, BaseModel, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from deal_service.domain.currency import EXPONENTS, decimal
from deal_service.domain.deal import MOST_CONTACTS, Deal, Visit
from deal_service.domain.money import MOST, AmountMinor, Currency
from deal_service.domain.pipeline import Outcome
from deal_service.domain.text import Day, Id, Key, Name, Note, Owner
from deal_service.handlers.deals import Deals, Opening, found, user_of
from deal_service.queries import deals as queries
from deal_service.queries import visits
from deal_service.queries.custom_fields import HOLDERS
from deal_service.queries.deals import Filter, Sort
from deal_service.routes.body import STRICT, Body
from deal_service.settings import DealServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    IfMatch,
    Page,
    PageQuery,
    Router,
    Tenant,
    Tx,
    idempotent,
    raises,
    requires,
    set_etag,
)
from mtenant_chassis.custom_fields import CustomFilters, Values

Probability = Annotated[int, Field(ge=0, le=100, description="that it is won, in percent")]


def different(contacts: list[UUID]) -> list[UUID]:
    """Return ids as they are; none is there twice."""
    if len(set(contacts)) < len(contacts):
        raise PydanticCustomError("unique", "has an id twice")
    return contacts


Contacts = Annotated[
    list[Id],
    Field(max_length=MOST_CONTACTS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(different),
]


class NewDeal(Body):
    """A deal that begins, in an open stage."""

    name: Name
    amount_minor: AmountMinor
    currency: Currency
    pipeline_id: Id | None = Field(default=None, description="the default one without it")
    stage: Key | None = Field(default=None, description="the first open one without it")
    expected_close_date: Day | None = None
    owner_id: Owner | None = Field(
        default=None, description="without the field: whoever asks; null: nobody"
    )
    contact_ids: Contacts = Field(default=[])
    custom: Values = Field(default_factory=dict)

    def opening(self, caller: str | None) -> Opening:
        """Return what is wanted."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if "owner_id" not in self.model_fields_set:
            values["owner_id"] = caller
        return Opening(**values)


@with_config(STRICT)
class DealChange(TypedDict, total=False):
    """Fields of a deal; what is left out stays as it is, and null takes away: of `custom`, too."""

    name: Name
    pipeline_id: Id
    stage: Key
    probability: Probability
    amount_minor: AmountMinor
    currency: Currency
    expected_close_date: Day | None
    owner_id: Owner | None
    lost_reason: Key | None
    lost_note: Note | None
    custom: Values | None


class DealView(BaseModel):
    """A deal."""

    id: UUID
    name: str
    pipeline_id: UUID
    stage: str
    status: Outcome
    probability: int
    amount_minor: int
    currency: str
    amount: str = Field(description="the amount as a decimal number", examples=["12500.00"])
    exponent: int = Field(description="digits of the currency behind the point")
    expected_close_date: date | None
    owner_id: str | None
    contact_ids: list[UUID]
    lost_reason: str | None
    lost_note: str | None
    custom: dict[str, Any]
    stage_entered_at: datetime
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, deal: Deal) -> DealView:
        """Return what may be seen of a deal."""
        said: dict[str, Any] = {
            name: getattr(deal, name)
            for name in cls.model_fields
            if name not in {"amount", "exponent"}
        }
        amount = decimal(deal.amount_minor, deal.currency)
        return cls(**said, amount=amount, exponent=EXPONENTS[deal.currency])


class VisitView(BaseModel):
    """A time that a deal was in a stage, and what it was worth when it came there."""

    id: UUID
    pipeline_id: UUID
    stage: str
    probability: int
    amount_minor: int
    currency: str
    moved_by: str
    entered_at: datetime
    left_at: datetime | None = Field(description="null while it is there")
    seconds: float = Field(description="for how long; by now, while it is there")

    @classmethod
    def of(cls, visit: Visit) -> VisitView:
        """Return what may be seen of it."""
        return cls(**{name: getattr(visit, name) for name in cls.model_fields})


def deals_router(own: DealServiceSettings) -> Router:
    """Return the routes of deals."""
    router = Router(prefix="/api/deals", tags=["deals"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("deals:write"), idempotent()],
        responses=raises(409, 502),
    )
    async def create(
        *,
        asked: NewDeal,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> DealView:
        """Begin a deal."""
        opening = asked.opening(user_of(who))
        made = await Deals(chassis, own, audit).create(tx, who, opening)
        response.headers["location"] = f"/api/deals/{made.id}"
        set_etag(response, made.version)
        return DealView.of(made)

    @router.get("", dependencies=[requires("deals:read")])
    async def list_deals(
        *,
        tenant: Tenant,
        page: PageQuery,
        status: Outcome | None = None,
        pipeline_id: UUID | None = None,
        stage: Annotated[Key | None, Query()] = None,
        owner_id: Annotated[Owner | None, Query()] = None,
        contact_id: UUID | None = None,
        expected_from: Annotated[Day | None, Query()] = None,
        expected_to: Annotated[Day | None, Query()] = None,
        custom: CustomFilters,
        sort: Sort = "-created_at",
    ) -> Page[DealView]:
        """List deals; those without an expected date come last where it is sorted by it.

        `custom.<key>=` filters by custom fields.
        """
        values = await HOLDERS.wanted(tenant, "deal", custom)
        which = Filter(
            status=status,
            pipeline_id=pipeline_id,
            stage=stage,
            owner_id=owner_id,
            contact_id=contact_id,
            expected_from=expected_from,
            expected_to=expected_to,
            custom=json.dumps(values) if values else None,
        )
        after = page.after(_KEYS[sort], UUID, of=(sort, which))
        rows = await queries.page(
            tenant,
            which,
            sort,
            after=(after[0], after[1]) if after else None,
            limit=page.limit + 1,
        )
        views = [DealView.of(one) for one in rows]
        total = await page.total(lambda: queries.count(tenant, which))
        return page.of(views, key=lambda one: (_key(one, sort), one.id), total=total)

    @router.get("/{deal_id}", dependencies=[requires("deals:read")])
    async def get(deal_id: UUID, tenant: Tenant, response: Response) -> DealView:
        """Return a deal."""
        one = await found(tenant, deal_id)
        set_etag(response, one.version)
        return DealView.of(one)

    async def change(
        *,
        deal_id: UUID,
        asked: Annotated[DealChange, InBody()],
        tenant: Tenant,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> DealView:
        """Change a deal, or move it: `{"stage": "closed_won"}`. What is left out stays as it is.

        PUT and PATCH do the same, so that PUT takes a part of a deal, too. A deal goes to a stage that its
        own one allows, and is lost for a reason: `{"stage": "closed_lost", "lost_reason": "price"}`.
        """
        one = await Deals(chassis, own, audit).change(tenant, who, deal_id, asked, if_match)
        set_etag(response, one.version)
        return DealView.of(one)

    for method in ("PUT", "PATCH"):
        router.add_api_route(
            "/{deal_id}",
            change,
            methods=[method],
            name=f"{method.lower()}_deal",
            summary="Change",
            dependencies=[requires("deals:write")],
            responses=raises(409, 502),
        )

    @router.delete("/{deal_id}", status_code=204, dependencies=[requires("deals:delete")])
    async def delete(
        *, deal_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch, chassis: CurrentChassis
    ) -> None:
        """Delete a deal; it can be restored."""
        await Deals(chassis, own, audit).delete(tx, deal_id, if_match)

    @router.post(
        "/{deal_id}/restore", dependencies=[requires("deals:delete")], responses=raises(409)
    )
    async def restore(
        *, deal_id: UUID, tx: Tx, audit: Audit, chassis: CurrentChassis, response: Response
    ) -> DealView:
        """Bring a deleted deal back."""
        one = await Deals(chassis, own, audit).restore(tx, deal_id)
        set_etag(response, one.version)
        return DealView.of(one)

    @router.post("/{deal_id}/purge", status_code=204, dependencies=[requires("deals:manage")])
    async def purge(*, deal_id: UUID, tx: Tx, audit: Audit, chassis: CurrentChassis) -> None:
        """Remove a deleted deal for good, with its history and what the audit trail says of its values."""
        await Deals(chassis, own, audit).purge(tx, deal_id)

    @router.get("/{deal_id}/history", dependencies=[requires("deals:read")])
    async def history(deal_id: UUID, tenant: Tenant, page: PageQuery) -> Page[VisitView]:
        """List the stages in which a deal has been, the first one first, and for how long."""
        await found(tenant, deal_id)
        after = page.after(datetime, UUID, of=("entered_at, id", deal_id))
        rows = await visits.of_deal(
            tenant,
            deal_id,
            after=(after[0], after[1]) if after else None,
            limit=page.limit + 1,
        )
        views = [VisitView.of(one) for one in rows]
        total = await page.total(lambda: visits.count(tenant, deal_id))
        return page.of(views, key=lambda one: (one.entered_at, one.id), total=total)

    return router


_KEYS: dict[Sort, Any] = {
    "-created_at": datetime,
    "created_at": datetime,
    "-amount_minor": Annotated[int, Field(ge=0, le=MOST)],
    "expected_close_date": date | Literal["infinity"],
}


def _key(deal: DealView, sort: Sort) -> object:
    if sort == "-amount_minor":
        return deal.amount_minor
    if sort == "expected_close_date":
        return deal.expected_close_date or "infinity"
    return deal.created_at
