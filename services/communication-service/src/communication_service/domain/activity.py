"""Activities: what happened between us and somebody, and in whose timelines it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

Kind = Literal["email", "call", "meeting", "note"]
Direction = Literal["inbound", "outbound"]
Entity = Literal["contact", "company", "deal"]


@dataclass(frozen=True)
class Related:
    """Contacts, companies and deals of an activity.

    Attributes:
        contact_ids: Contacts.
        company_ids: Companies.
        deal_ids: Deals.
    """

    contact_ids: Sequence[UUID] = ()
    company_ids: Sequence[UUID] = ()
    deal_ids: Sequence[UUID] = ()

    @property
    def all(self) -> list[tuple[Entity, UUID]]:
        """Each of them once, with what it is."""
        named: list[tuple[Entity, UUID]] = [
            *(("contact", one) for one in self.contact_ids),
            *(("company", one) for one in self.company_ids),
            *(("deal", one) for one in self.deal_ids),
        ]
        return list(dict.fromkeys(named))


@dataclass(frozen=True)
class Occurrence:
    """What is to be noted.

    Attributes:
        kind: What it was.
        subject: One line about it.
        occurred_at: When.
        body: What was said.
        direction: Who began, if that is known.
        duration_minutes: How long it took.
        related: In whose timelines it stands.
        email_id: Which mail it is.
    """

    kind: Kind
    subject: str
    occurred_at: datetime
    body: str = ""
    direction: Direction | None = None
    duration_minutes: int | None = None
    related: Related = field(default_factory=Related)
    email_id: UUID | None = None


@dataclass(frozen=True)
class Activity:
    """An activity.

    Attributes:
        id: Its id.
        kind: What it was.
        subject: One line about it.
        body: What was said.
        direction: Who began.
        duration_minutes: How long it took.
        occurred_at: When.
        contact_ids: In whose timelines it stands.
        company_ids: In whose timelines it stands.
        deal_ids: In whose timelines it stands.
        email_id: Which mail it is.
        created_by: Who noted it.
        created_at: When it was noted.
        updated_at: When the note was changed.
        version: Grows with every change.
    """

    id: UUID
    kind: Kind
    subject: str
    body: str
    direction: Direction | None
    duration_minutes: int | None
    occurred_at: datetime
    contact_ids: Sequence[UUID]
    company_ids: Sequence[UUID]
    deal_ids: Sequence[UUID]
    email_id: UUID | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int
