"""Routes of activities, and of the timelines that they make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from communication_service.domain.activity import (
    Activity,
    Direction,
    Entity,
    Kind,
    Occurrence,
    Related,
)
from communication_service.domain.text import Id, Line, Moment, Text
from communication_service.handlers.activities import Activities
from communication_service.queries import activity as rows
from communication_service.routes.patch import left_out
from mtenant_chassis import (
    Audit,
    CurrentChassis,
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
from mtenant_errors import BadRequest

Ids = Annotated[list[Id], Field(max_length=20)]
Minutes = Annotated[int, Field(ge=0, le=100_000)]


class TimelineAmbiguous(BadRequest):
    """A timeline is that of one thing."""

    code, message = "TIMELINE_AMBIGUOUS", "a timeline is of one contact, one company or one deal"


class NewActivity(BaseModel):
    """What happened, and in whose timelines it is to stand."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Kind
    subject: Line
    body: Text = ""
    direction: Direction | None = None
    duration_minutes: Minutes | None = None
    occurred_at: Moment | None = Field(default=None, description="now, if nothing is said")
    contact_ids: Ids = []
    company_ids: Ids = []
    deal_ids: Ids = []


class ActivityPatch(BaseModel):
    """What is not so any more (RFC 7396); what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)
    subject: Line = left_out()
    body: Text = left_out()
    direction: Direction | None = None
    duration_minutes: Minutes | None = None
    occurred_at: Moment = left_out()
    contact_ids: Ids = left_out()
    company_ids: Ids = left_out()
    deal_ids: Ids = left_out()


class ActivityView(BaseModel):
    """An activity."""

    id: UUID
    kind: Kind
    subject: str
    body: str
    direction: Direction | None
    duration_minutes: int | None
    occurred_at: datetime
    contact_ids: list[UUID]
    company_ids: list[UUID]
    deal_ids: list[UUID]
    email_id: UUID | None = Field(description="the mail that it is")
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Activity) -> ActivityView:
        """Return what may be seen of an activity."""
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


def activities_router() -> Router:
    """Return the routes of activities."""
    router = Router(prefix="/api/activities", tags=["activities"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("activities:write"), idempotent()],
        responses=raises(502),
    )
    async def note(
        asked: NewActivity, tx: Tx, audit: Audit, chassis: CurrentChassis, response: Response
    ) -> ActivityView:
        """Note that something happened."""
        said = asked.model_dump()
        related = Related(**{name: said.pop(name) for name in Related.__dataclass_fields__})
        said["occurred_at"] = said["occurred_at"] or datetime.now(UTC)
        what = Occurrence(**said, related=related)
        made = await Activities(chassis).note(tx, audit, what)
        response.headers["location"] = f"/api/activities/{made.id}"
        set_etag(response, made.version)
        return ActivityView.of(made)

    @router.get("", dependencies=[requires("activities:read")])
    async def timeline(
        *,
        tenant: Tenant,
        page: PageQuery,
        contact_id: Annotated[UUID | None, Query()] = None,
        company_id: Annotated[UUID | None, Query()] = None,
        deal_id: Annotated[UUID | None, Query()] = None,
        kind: Annotated[Kind | None, Query()] = None,
    ) -> Page[ActivityView]:
        """Return the timeline of a contact, a company or a deal, newest first; or everything."""
        of = _of(contact=contact_id, company=company_id, deal=deal_id)
        after = page.after(datetime, UUID, of=("occurred_at, id", of, kind))
        found = await rows.newest_first(
            tenant, of, kind, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        views = [ActivityView.of(one) for one in found]
        total = await page.total(lambda: rows.count(tenant, of, kind))
        return page.of(views, key=lambda one: (one.occurred_at, one.id), total=total)

    @router.get("/{activity_id}", dependencies=[requires("activities:read")])
    async def get(
        activity_id: UUID, tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> ActivityView:
        """Return an activity."""
        found = await Activities(chassis).get(tenant, activity_id)
        set_etag(response, found.version)
        return ActivityView.of(found)

    @router.patch(
        "/{activity_id}", dependencies=[requires("activities:write")], responses=raises(502)
    )
    async def change(
        *,
        activity_id: UUID,
        asked: ActivityPatch,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> ActivityView:
        """Change what is noted; its kind stays."""
        changes: dict[str, Any] = asked.model_dump(exclude_unset=True)
        changed = await Activities(chassis).change(tx, audit, activity_id, changes, if_match)
        set_etag(response, changed.version)
        return ActivityView.of(changed)

    @router.delete("/{activity_id}", status_code=204, dependencies=[requires("activities:delete")])
    async def delete(
        activity_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch, chassis: CurrentChassis
    ) -> None:
        """Remove it from all timelines."""
        await Activities(chassis).delete(tx, audit, activity_id, if_match)

    return router


def _of(**named: UUID | None) -> tuple[Entity, UUID] | None:
    kinds: tuple[Entity, ...] = ("contact", "company", "deal")
    given = [(kind, which) for kind in kinds if (which := named[kind]) is not None]
    if len(given) > 1:
        raise TimelineAmbiguous
    return given[0] if given else None
