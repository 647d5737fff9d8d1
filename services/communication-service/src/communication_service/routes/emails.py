"""Routes of mails: sent, looked at, counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from communication_service.domain.activity import Related
from communication_service.domain.email import Email, Figures, Period, Status, TrackKind
from communication_service.domain.order import Order
from communication_service.domain.template import MOST_VARIABLES, Rendered
from communication_service.domain.text import Email as Address
from communication_service.domain.text import Id, Line, Moment, Text
from communication_service.handlers.emails import Emails
from communication_service.queries import email as rows
from communication_service.routes.templates import Values
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
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

LONGEST_RANGE: Final = timedelta(days=366)
USUAL_RANGE: Final = timedelta(days=30)


class RangeInvalid(BadRequest):
    """The period asked for is none."""

    code, message = "RANGE_INVALID", "begin is before end, by 366 days at most"


class NewEmail(BaseModel):
    """A mail: to an address or a contact; from a template, or as it is here."""

    model_config = ConfigDict(extra="forbid", strict=True)
    to: Address | None = Field(default=None, description="the contact's, if nothing is said")
    contact_id: Id | None = None
    company_id: Id | None = None
    deal_id: Id | None = None
    template_id: Id | None = None
    values: Annotated[Values, Field(max_length=MOST_VARIABLES)] = {}
    subject: Line | None = None
    text: Annotated[Text, StringConstraints(min_length=1)] | None = None
    html: Annotated[str, StringConstraints(min_length=1, max_length=200_000)] | None = None
    track: bool = Field(default=True, description="whether opens and clicks are told")

    @model_validator(mode="after")
    def _whole(self) -> NewEmail:
        if self.to is None and self.contact_id is None:
            raise PydanticCustomError("recipient", "has neither `to` nor `contact_id`")
        written = [self.subject, self.text, self.html]
        if self.template_id is not None and any(one is not None for one in written):
            raise PydanticCustomError("content", "has a template, and a text of its own")
        if self.template_id is None and (self.subject is None or self.text is None):
            raise PydanticCustomError("content", "has neither a template, nor subject and text")
        return self

    @property
    def order(self) -> Order:
        """What is to be sent."""
        content = None
        if self.subject is not None and self.text is not None:
            content = Rendered(self.subject, self.text, self.html)
        related = Related(_some(self.contact_id), _some(self.company_id), _some(self.deal_id))
        return Order(self.to, related, self.template_id, self.values, content, self.track)


class EmailView(BaseModel):
    """A mail, and what became of it."""

    id: UUID
    status: Status
    to: str | None = Field(description="null until a scheduled mail's reader is looked up")
    contact_id: UUID | None
    company_id: UUID | None
    deal_id: UUID | None
    user_id: str | None
    template_id: UUID | None
    template_version: int | None
    subject: str | None
    tracked: bool
    activity_id: UUID | None
    message_id: str | None
    attempts: int
    error: str | None
    created_by: str
    created_at: datetime
    sent_at: datetime | None
    failed_at: datetime | None
    opened_at: datetime | None = Field(description="the first time, by a person")
    clicked_at: datetime | None
    unsubscribed_at: datetime | None
    opens: int
    clicks: int
    machine_opens: int = Field(description="by scanners and prefetching, which count nowhere else")
    machine_clicks: int
    version: int

    @classmethod
    def of(cls, one: Email) -> EmailView:
        """Return what may be seen of a mail in a list."""
        said = {name: getattr(one, name) for name in cls.model_fields if name != "to"}
        return cls(**said, to=one.recipient)


class LinkView(BaseModel):
    """A link of a mail."""

    number: int
    url: str
    clicks: int


class WholeEmail(EmailView):
    """A mail with what it says."""

    text: str | None
    html: str | None = Field(description="as it was written, without the tracker's links")
    links: list[LinkView]


class TrackView(BaseModel):
    """Something that happened to a mail."""

    id: UUID
    kind: TrackKind
    link: int | None
    machine: str | None = Field(description="why it was no person; null for persons")
    at: datetime


class FiguresView(BaseModel):
    """What became of the mails of one template that were sent or given up in one period."""

    template_id: UUID | None
    template_key: str | None
    period: datetime = Field(description="when it begins, in UTC")
    sent: int
    failed: int
    opened: int = Field(description="of those sent then, how many a person has opened by now")
    clicked: int
    unsubscribed: int
    machine_opened: int
    open_rate: float | None
    click_rate: float | None

    @classmethod
    def of(cls, one: Figures) -> FiguresView:
        """Return figures with their rates."""
        return cls(
            **vars(one),
            open_rate=one.opened / one.sent if one.sent else None,
            click_rate=one.clicked / one.sent if one.sent else None,
        )


class Analytics(BaseModel):
    """What became of mails in a time."""

    begin: datetime
    end: datetime
    period: Period
    items: list[FiguresView]


def emails_router(own: CommunicationServiceSettings) -> Router:
    """Return the routes of mails."""
    router = Router(prefix="/api/emails", tags=["emails"])

    @router.post(
        "/send",
        status_code=202,
        dependencies=[requires("emails:write"), idempotent()],
        responses=raises(404, 502),
    )
    async def send(
        asked: NewEmail, tx: Tx, audit: Audit, chassis: CurrentChassis, response: Response
    ) -> EmailView:
        """Send a mail: it is queued with this answer, and stands in the timelines."""
        made = await Emails(chassis, own).send(tx, audit, asked.order)
        response.headers["location"] = f"/api/emails/{made.id}"
        return EmailView.of(made)

    @router.get("", dependencies=[requires("emails:read")])
    async def list_emails(
        *,
        tenant: Tenant,
        page: PageQuery,
        status: Annotated[Status | None, Query()] = None,
        contact_id: Annotated[UUID | None, Query()] = None,
        deal_id: Annotated[UUID | None, Query()] = None,
        template_id: Annotated[UUID | None, Query()] = None,
    ) -> Page[EmailView]:
        """List mails, newest first."""
        filters = {
            "status": status,
            "contact_id": contact_id,
            "deal_id": deal_id,
            "template_id": template_id,
        }
        after = page.after(datetime, UUID, of=("created_at, id", sorted(filters.items())))
        found = await rows.newest_first(
            tenant, filters, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        views = [EmailView.of(one) for one in found]
        total = await page.total(lambda: rows.count(tenant, filters))
        return page.of(views, key=lambda one: (one.created_at, one.id), total=total)

    @router.get("/analytics", dependencies=[requires("emails:read")])
    async def analytics(
        tenant: Tenant,
        begin: Annotated[Moment | None, Query(description="30 days before the end")] = None,
        end: Annotated[Moment | None, Query(description="now, if nothing is said")] = None,
        period: Annotated[Period, Query()] = "day",
        template_id: Annotated[UUID | None, Query()] = None,
    ) -> Analytics:
        """Count mails by template and period: sent, given up, opened, clicked, unsubscribed."""
        until = end or datetime.now(UTC)
        since = begin or until - USUAL_RANGE
        if not timedelta(0) < until - since <= LONGEST_RANGE:
            raise RangeInvalid
        found = await rows.figures(
            tenant, begin=since, end=until, period=period, template_id=template_id
        )
        items = [FiguresView.of(one) for one in found]
        return Analytics(begin=since, end=until, period=period, items=items)

    @router.get("/{email_id}", dependencies=[requires("emails:read")])
    async def get(
        email_id: UUID, tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> WholeEmail:
        """Return a mail with what it says, and how often its links were followed."""
        found = await Emails(chassis, own).get(tenant, email_id)
        links = [
            LinkView(number=number, url=url, clicks=clicks)
            for number, url, clicks in await rows.links(tenant, email_id)
        ]
        set_etag(response, found.version)
        view = EmailView.of(found).model_dump()
        return WholeEmail(**view, text=found.body_text, html=found.body_html, links=links)

    @router.get("/{email_id}/tracking", dependencies=[requires("emails:read")])
    async def tracking(
        email_id: UUID, tenant: Tenant, page: PageQuery, chassis: CurrentChassis
    ) -> Page[TrackView]:
        """List what happened to a mail, in that order; machines are named as such."""
        await Emails(chassis, own).get(tenant, email_id)
        after = page.after(datetime, UUID, of=("at, id", email_id))
        found = await rows.tracks(
            tenant, email_id, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        views = [TrackView(**vars(one)) for one in found]
        total = await page.total(lambda: rows.count_tracks(tenant, email_id))
        return page.of(views, key=lambda one: (one.at, one.id), total=total)

    return router


def _some(which: UUID | None) -> tuple[UUID, ...]:
    return () if which is None else (which,)
