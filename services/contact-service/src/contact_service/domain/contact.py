"""Contacts: what is known of a person, and what of it may be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from contact_service.domain.errors import ContactNameless
from contact_service.domain.search import words
from contact_service.domain.text import Email, Id, Line, OptionalLine, Owner
from mtenant_chassis.custom_fields import Values

Status = Literal["lead", "active", "inactive"]

FIELDS: Final = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "job_title",
    "status",
    "company_id",
    "owner_id",
    "custom",
)
"""What people may change."""

_SEARCHED: Final = ("first_name", "last_name", "email", "phone", "job_title")
_fields_of: Final = attrgetter(*FIELDS)
_searched_of: Final = itemgetter(*_SEARCHED)


class ContactFields(BaseModel):
    """What people say of a contact."""

    model_config = ConfigDict(extra="forbid", strict=True)
    first_name: Line = ""
    last_name: Line = ""
    email: Email | None = None
    phone: OptionalLine = None
    job_title: OptionalLine = None
    status: Status = "lead"
    company_id: Id | None = None
    owner_id: Owner | None = None
    custom: Values = Field(default_factory=dict)

    def check(self) -> None:
        """Let it be a contact.

        Raises:
            ContactNameless: Nobody could tell who it is.
        """
        if not (self.first_name or self.last_name or self.email):
            raise ContactNameless

    def values(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dict(zip(FIELDS, _fields_of(self), strict=True))


class ContactPatch(BaseModel):
    """What should be otherwise (RFC 7396): what is left out stays, null takes away."""

    model_config = ConfigDict(extra="forbid", strict=True)
    first_name: Line | None = None
    last_name: Line | None = None
    email: Email | None = None
    phone: OptionalLine = None
    job_title: OptionalLine = None
    status: Status | None = None
    company_id: Id | None = None
    owner_id: Owner | None = None
    custom: Values | None = None

    def on(self, before: Contact) -> ContactFields:
        """Return a contact's fields with these changes."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if said.get("custom") is not None:
            said["custom"] = {**before.custom, **said["custom"]}
        kept = {name: getattr(before, name) for name in FIELDS if name not in said}
        given = {name: value for name, value in said.items() if value is not None}
        # What was stored is not judged again: model_construct.
        return ContactFields.model_construct(**{**kept, **given})


@dataclass(slots=True)  # frozen, a page of them takes four times as long to make
class Contact:
    """A contact, as it is stored; nobody changes one in memory.

    Attributes:
        id: Its id.
        first_name: May be empty.
        last_name: May be empty.
        email: In its one spelling; no other contact has it.
        phone: As it was written.
        job_title: What the person does.
        status: How far we are with it.
        company_id: Where the person works.
        owner_id: The user who looks after it.
        custom: Values of the tenant's own fields.
        created_at: When it was made.
        updated_at: When it was changed.
        deleted_at: When it was deleted; None while it is there.
        merged_into: The contact that it became part of.
        version: Grows with every change.
    """

    id: UUID
    first_name: str
    last_name: str
    email: str | None
    phone: str | None
    job_title: str | None
    status: Status
    company_id: UUID | None
    owner_id: str | None
    custom: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    merged_into: UUID | None
    version: int

    @property
    def name(self) -> str:
        """What to call the person."""
        return f"{self.first_name} {self.last_name}".strip(" ") or self.email or ""

    def values(self) -> dict[str, Any]:
        """Return the fields that people may change, by name."""
        return dict(zip(FIELDS, _fields_of(self), strict=True))


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return the words by which a contact with these fields is found."""
    texts = [value for value in values["custom"].values() if isinstance(value, str)]
    return words([*_searched_of(values), *texts])


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was otherwise before, and what it is now."""
    changed = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in changed}, {name: after[name] for name in changed}


def absorb(survivor: Contact, other: Contact) -> Contact:
    """Return a contact that has what it lacked from another one."""
    values = other.values()
    mine = {name: value or values[name] for name, value in survivor.values().items()}
    mine["custom"] = {**other.custom, **survivor.custom}
    return replace(survivor, **mine)
