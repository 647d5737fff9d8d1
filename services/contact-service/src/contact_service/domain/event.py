"""What this service tells others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contact_service.domain.contact import Contact
from mtenant_events import event_type


@dataclass(frozen=True)
class _AboutContact:
    """A contact as it is now.

    Attributes:
        contact_id: Which one.
        email: Its address.
        name: What it is called.
        owner_id: The user it belongs to.
        version: Grows with every change: who keeps a copy compares.
    """

    contact_id: str
    email: str | None
    name: str
    owner_id: str | None
    version: int


@event_type("contact.created")
@dataclass(frozen=True)
class ContactCreated(_AboutContact):
    """There is a new contact."""


@event_type("contact.updated")
@dataclass(frozen=True)
class ContactUpdated(_AboutContact):
    """A contact is not as before; one that was deleted may be back."""


@event_type("contact.deleted")
@dataclass(frozen=True)
class ContactDeleted(_AboutContact):
    """A contact is gone.

    Attributes:
        merged_into: The contact that has taken its place, if it was merged.
    """

    merged_into: str | None = None


@event_type("company.created")
@dataclass(frozen=True)
class CompanyCreated:
    """There is a new company.

    Attributes:
        company_id: Which one.
        name: What it is called.
    """

    company_id: str
    name: str


def created(contact: Contact) -> ContactCreated:
    """Tell of a new contact."""
    return ContactCreated(**_said(contact))


def updated(contact: Contact) -> ContactUpdated:
    """Tell of a contact that was changed."""
    return ContactUpdated(**_said(contact))


def deleted(contact: Contact) -> ContactDeleted:
    """Tell of a contact that is gone."""
    into = None if contact.merged_into is None else str(contact.merged_into)
    return ContactDeleted(**_said(contact), merged_into=into)


def _said(contact: Contact) -> dict[str, Any]:
    return {
        "contact_id": str(contact.id),
        "email": contact.email,
        "name": contact.name,
        "owner_id": contact.owner_id,
        "version": contact.version,
    }
