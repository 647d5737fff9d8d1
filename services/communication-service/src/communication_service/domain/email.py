"""Mails: to whom, made from what, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

Status = Literal["scheduled", "queued", "sent", "failed"]
TrackKind = Literal["open", "click", "unsubscribe"]
Period = Literal["day", "week", "month"]

MOST_TRACKS: Final = 500
"""Of what happened to a mail so many rows are kept; after that it is counted only."""


@dataclass(frozen=True)
class Email:
    """A mail.

    Attributes:
        id: Its id.
        status: `scheduled` for later, `queued` for the server, `sent` to it, or `failed`.
        recipient: The address; None while that of a scheduled one is not known.
        contact_id: To which contact.
        company_id: About which company.
        deal_id: About which deal.
        user_id: To which user.
        template_id: What it was made from.
        template_version: Which version of that.
        template_key: Of a scheduled one, what it will be made from.
        template_values: With which values.
        subject: Its subject, once it is made.
        body_text: What it says.
        body_html: What it says as HTML, without the tracker's links.
        transactional: Whether somebody has to know: it is sent to those who want no mail, too.
        tracked: Whether opens and clicks are told.
        activity_id: Where it stands in timelines.
        message_id: Its Message-ID, the same in every attempt.
        attempts: How often the server was asked.
        error: Why it failed: a code, or what the server said, without the address.
        created_by: Who wanted it.
        created_at: When.
        sent_at: When the server took it.
        failed_at: When it was given up.
        opened_at: When a person opened it first.
        clicked_at: When a person followed a link first.
        unsubscribed_at: When the reader wanted no more.
        opens: By persons.
        clicks: By persons.
        machine_opens: By machines.
        machine_clicks: By machines.
        tracks: How many rows of that are kept.
        version: Grows with every change of its state.
    """

    id: UUID
    status: Status
    recipient: str | None
    contact_id: UUID | None
    company_id: UUID | None
    deal_id: UUID | None
    user_id: str | None
    template_id: UUID | None
    template_version: int | None
    template_key: str | None
    template_values: Mapping[str, Any]
    subject: str | None
    body_text: str | None
    body_html: str | None
    transactional: bool
    tracked: bool
    activity_id: UUID | None
    message_id: str | None
    attempts: int
    error: str | None
    created_by: str
    created_at: datetime
    sent_at: datetime | None
    failed_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    unsubscribed_at: datetime | None
    opens: int
    clicks: int
    machine_opens: int
    machine_clicks: int
    tracks: int
    version: int


@dataclass(frozen=True)
class Track:
    """Something that happened to a mail.

    Attributes:
        id: Its id.
        kind: `open`, `click` or `unsubscribe`.
        link: Which link was followed.
        machine: Why it was no person; None for persons.
        at: When.
    """

    id: UUID
    kind: TrackKind
    link: int | None
    machine: str | None
    at: datetime


@dataclass(frozen=True)
class Figures:
    """What became of the mails of one template that ended in one period.

    Attributes:
        template_id: Which template; None for mails that were made from none.
        template_key: What that is called.
        period: When the period begins, in UTC.
        sent: Mails that a server took.
        failed: Mails that were given up.
        opened: Of those that were sent, how many a person has opened by now.
        clicked: Of those, in how many a person has followed a link.
        unsubscribed: Of those, after how many the reader wanted no more.
        machine_opened: Of those, how many a machine has fetched.
    """

    template_id: UUID | None
    template_key: str | None
    period: datetime
    sent: int
    failed: int
    opened: int
    clicked: int
    unsubscribed: int
    machine_opened: int
