"""Tasks: what somebody has to do, until when, and when to be reminded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

Status = Literal["open", "done"]


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        id: Its id.
        title: What is to do.
        description: More about it.
        status: `open` or `done`.
        due_at: Until when.
        order_at: The same, and the end of time without one.
        remind_at: When to be reminded.
        reminded_at: When the reminder fired.
        assignee_id: Who has to do it: a user.
        contact_id: About whom.
        company_id: About whom.
        deal_id: About what.
        created_by: Who wants it.
        completed_by: Who did it.
        completed_at: When.
        created_at: Since when.
        updated_at: When it was changed.
        version: Grows with every change.
    """

    id: UUID
    title: str
    description: str
    status: Status
    due_at: datetime | None
    order_at: datetime
    remind_at: datetime | None
    reminded_at: datetime | None
    assignee_id: str
    contact_id: UUID | None
    company_id: UUID | None
    deal_id: UUID | None
    created_by: str
    completed_by: str | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def waits_for_reminder(self) -> bool:
        """Whether a reminder is to come."""
        return self.status == "open" and self.remind_at is not None and self.reminded_at is None
