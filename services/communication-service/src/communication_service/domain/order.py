"""What is wanted of this service: a mail now, by a person; a mail now or later, by the service itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from communication_service.domain.activity import Related
from communication_service.domain.template import Rendered, Value


@dataclass(frozen=True)
class Order:
    """A mail that a person wants to be sent now.

    Attributes:
        recipient: The address; None: the contact's.
        related: The contact, company and deal that it is about, at most one of each.
        template_id: What it is made from; None: `content`.
        values: For the template.
        content: What it says, without a template.
        tracked: Whether opens and clicks are to be told.
    """

    recipient: str | None
    related: Related
    template_id: UUID | None
    values: Mapping[str, Value]
    content: Rendered | None
    tracked: bool


@dataclass(frozen=True)
class Plan:
    """A mail that this service itself wants to be sent, now or later.

    Attributes:
        template: The key of its template.
        values: For the template.
        transactional: Whether somebody has to know.
        created_by: Who caused it.
        after: How long to wait.
        recipient: The address, if it is known already.
        contact_id: To which contact.
        user_id: To which user.
        deal_id: About which deal.
    """

    template: str
    values: Mapping[str, Value]
    transactional: bool
    created_by: str
    after: timedelta = field(default=timedelta(0))
    recipient: str | None = None
    contact_id: UUID | None = None
    user_id: str | None = None
    deal_id: UUID | None = None
