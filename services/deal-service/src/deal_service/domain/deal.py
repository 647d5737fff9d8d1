"""Deals: what they are worth, where they are, where they have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from deal_service.domain.pipeline import Outcome

MOST_CONTACTS: Final = 50
"""Contacts of one deal, at most."""


@dataclass(frozen=True)
class Deal:
    """A deal.

    Attributes:
        id: Its id.
        name: What it is called.
        pipeline_id: Where it goes through.
        stage_id: Where it is.
        stage: The key of that stage.
        status: The outcome of that stage.
        probability: That it is won, in percent. It begins as that of the stage.
        amount_minor: What it is worth, in the smallest unit of the currency.
        currency: The code of ISO 4217.
        expected_close_date: When it is expected to be closed.
        owner_id: The user whose it is.
        lost_reason: Why it is lost, by the key of a reason.
        lost_note: And in words.
        contact_ids: Who belongs to it, the first one first.
        custom: Values of the tenant's own fields.
        stage_entered_at: When it came into its stage.
        closed_at: When it was won or lost.
        created_at: When it was made.
        updated_at: When it was changed.
        version: Grows with every change.
    """

    id: UUID
    name: str
    pipeline_id: UUID
    stage_id: UUID
    stage: str
    status: Outcome
    probability: int
    amount_minor: int
    currency: str
    expected_close_date: date | None
    owner_id: str | None
    lost_reason: str | None
    lost_note: str | None
    contact_ids: Sequence[UUID]
    custom: Mapping[str, Any]
    stage_entered_at: datetime
    closed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True)
class Visit:
    """A time that a deal was in a stage.

    Attributes:
        id: Its id.
        pipeline_id: Of the stage; it may be gone by now.
        stage: The key of the stage.
        probability: That the deal would be won, in percent, when it came.
        amount_minor: What it was worth then.
        currency: Of the amount.
        moved_by: Who brought it there: `user:<id>` or `service:<name>`.
        entered_at: When it came.
        left_at: When it left; None while it is there.
        seconds: For how long it was there, or has been there by now.
    """

    id: UUID
    pipeline_id: UUID
    stage: str
    probability: int
    amount_minor: int
    currency: str
    moved_by: str
    entered_at: datetime
    left_at: datetime | None
    seconds: float


@dataclass(frozen=True)
class Association:
    """A contact that belongs to a deal.

    Attributes:
        contact_id: Which, of contact-service.
        role: What it is in this deal, in words.
        added_at: Since when.
    """

    contact_id: UUID
    role: str | None
    added_at: datetime
