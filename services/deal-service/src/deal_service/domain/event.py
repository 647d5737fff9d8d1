"""What this service tells others, and what it listens to.

Amounts are in the smallest unit; stages are keys; ids are texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtenant_events import event_type


@event_type("deal.created")
@dataclass(frozen=True)
class DealCreated:
    """There is a new deal.

    Attributes:
        deal_id: Which.
        name: What it is called.
        pipeline_id: Where it goes through.
        stage: Where it begins.
        amount_minor: What it is worth.
        currency: Of the amount.
        owner_id: The user whose it is, if it is somebody's.
        contact_ids: Who belongs to it, the first one first.
    """

    deal_id: str
    name: str
    pipeline_id: str
    stage: str
    amount_minor: int
    currency: str
    owner_id: str | None
    contact_ids: Sequence[str]


@event_type("deal.stage_changed")
@dataclass(frozen=True)
class DealStageChanged:
    """A deal is in another stage.

    Attributes:
        deal_id: Which.
        from_stage: Where it was.
        to_stage: Where it is.
        probability: That it is won, in percent.
        amount_minor: What it is worth.
        currency: Of the amount.
    """

    deal_id: str
    from_stage: str
    to_stage: str
    probability: int
    amount_minor: int
    currency: str


@event_type("deal.closed_won")
@dataclass(frozen=True)
class DealClosedWon:
    """A deal is won.

    Attributes:
        deal_id: Which.
        name: What it is called.
        amount_minor: What it is worth.
        currency: Of the amount.
        owner_id: The user whose it is, if it is somebody's.
        contact_ids: Who belongs to it, the first one first.
    """

    deal_id: str
    name: str
    amount_minor: int
    currency: str
    owner_id: str | None
    contact_ids: Sequence[str]


@event_type("deal.closed_lost")
@dataclass(frozen=True)
class DealClosedLost:
    """A deal is lost.

    Attributes:
        deal_id: Which.
        name: What it is called.
        amount_minor: What it was worth.
        currency: Of the amount.
        owner_id: The user whose it is, if it is somebody's.
        contact_ids: Who belongs to it, the first one first.
        lost_reason: Why, by its key.
    """

    deal_id: str
    name: str
    amount_minor: int
    currency: str
    owner_id: str | None
    contact_ids: Sequence[str]
    lost_reason: str


@event_type("contact.deleted")
@dataclass(frozen=True)
class ContactDeleted:
    """A contact is gone: what this service reads of contact-service's event.

    Attributes:
        contact_id: Which.
        merged_into: The contact that has taken its place, if it was merged.
    """

    contact_id: str
    merged_into: str | None = None
