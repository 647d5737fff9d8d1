"""Companies: where contacts work, and which of them belongs to which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from contact_service.domain.search import words
from contact_service.domain.text import Id, OptionalLine, Owner
from mtenant_chassis.custom_fields import Values
from mtenant_chassis.line import Name

FIELDS: Final = ("name", "domain", "industry", "phone", "parent_id", "owner_id", "custom")
"""What people may change."""

DEEPEST: Final = 50
"""Companies above one another."""

Domain = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        max_length=253,
        pattern=r"^[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$",
    ),
    AfterValidator(str.lower),
    Field(examples=["example.com"]),
]


class CompanyFields(BaseModel):
    """What people say of a company."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Name
    domain: Domain | None = None
    industry: OptionalLine = None
    phone: OptionalLine = None
    parent_id: Id | None = None
    owner_id: Owner | None = None
    custom: Values = Field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in FIELDS}


class CompanyPatch(BaseModel):
    """What should be otherwise (RFC 7396): what is left out stays, null takes away."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Name = Field(default_factory=str)  # never null; what is left out is not looked at
    domain: Domain | None = None
    industry: OptionalLine = None
    phone: OptionalLine = None
    parent_id: Id | None = None
    owner_id: Owner | None = None
    custom: Values | None = None

    def on(self, before: Company) -> CompanyFields:
        """Return a company's fields with these changes."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if "custom" in said:
            said["custom"] = {} if self.custom is None else {**before.custom, **self.custom}
        kept = {name: getattr(before, name) for name in FIELDS if name not in said}
        return CompanyFields.model_construct(**{**kept, **said})


@dataclass(frozen=True)
class Company:
    """A company, as it is stored.

    Attributes:
        id: Its id.
        name: What it is called; several may be called the same.
        domain: Where it is in the Internet.
        industry: What it does.
        phone: As it was written.
        parent_id: The company that it belongs to.
        owner_id: The user who looks after it.
        custom: Values of the tenant's own fields.
        created_at: When it was made.
        updated_at: When it was changed.
        deleted_at: When it was deleted; None while it is there.
        version: Grows with every change.
    """

    id: UUID
    name: str
    domain: str | None
    industry: str | None
    phone: str | None
    parent_id: UUID | None
    owner_id: str | None
    custom: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int

    def values(self) -> dict[str, Any]:
        """Return the fields that people may change, by name."""
        return {name: getattr(self, name) for name in FIELDS}


@dataclass(frozen=True)
class Branch:
    """A company in its place of a hierarchy.

    Attributes:
        id: Its id.
        name: What it is called.
        parent_id: The company that it belongs to.
        depth: How far it is below the one that was asked for.
    """

    id: UUID
    name: str
    parent_id: UUID | None
    depth: int


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return the words by which a company with these fields is found."""
    names = ("name", "domain", "industry", "phone")
    texts = [value for value in values["custom"].values() if isinstance(value, str)]
    return words([*(values[name] for name in names), *texts])
