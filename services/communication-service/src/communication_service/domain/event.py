"""What this service tells others, and what it listens to. No address and no token stands in an event it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtenant_events import event_type


@event_type("email.sent")
@dataclass(frozen=True)
class EmailSent:
    """A server has taken a mail.

    Attributes:
        email_id: Which one.
        template_id: What it was made from, if it was.
        contact_id: To whom, if it is a contact.
        deal_id: About which deal, if any.
        user_id: To whom, if it is a user.
    """

    email_id: str
    template_id: str | None = None
    contact_id: str | None = None
    deal_id: str | None = None
    user_id: str | None = None


@event_type("email.opened")
@dataclass(frozen=True)
class EmailOpened:
    """A person opened a mail, for the first time; machines do not count.

    Attributes:
        email_id: Which one.
        template_id: What it was made from, if it was.
        contact_id: By whom, if it went to a contact.
        deal_id: About which deal, if any.
        user_id: By whom, if it went to a user.
    """

    email_id: str
    template_id: str | None = None
    contact_id: str | None = None
    deal_id: str | None = None
    user_id: str | None = None


@event_type("activity.logged")
@dataclass(frozen=True)
class ActivityLogged:
    """Something happened between us and somebody.

    Attributes:
        activity_id: Its id.
        kind: `email`, `call`, `meeting` or `note`.
        contact_ids: In whose timelines it stands.
        company_ids: In whose timelines it stands.
        deal_ids: In whose timelines it stands.
        email_id: The mail that it is, if it is one.
    """

    activity_id: str
    kind: str
    contact_ids: Sequence[str] = ()
    company_ids: Sequence[str] = ()
    deal_ids: Sequence[str] = ()
    email_id: str | None = None


@event_type("user.created")
@dataclass(frozen=True)
class UserCreated:
    """There is a new account: what this service reads of auth-service's event.

    Attributes:
        user_id: Its id.
        email: Its address.
        name: What the person is called.
    """

    user_id: str
    email: str
    name: str


@event_type("deal.closed_won")
@dataclass(frozen=True)
class DealClosedWon:
    """A deal was won: what this service reads of deal-service's event.

    Attributes:
        deal_id: Which one.
        name: What it is called.
        amount_minor: For how much, in the currency's smallest unit.
        currency: ISO 4217.
        contact_ids: With whom; the first one gets the follow-up.
    """

    deal_id: str
    name: str
    amount_minor: int | None = None
    currency: str | None = None
    contact_ids: Sequence[str] = ()
