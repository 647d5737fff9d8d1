"""Columns of files: what a first row means, what a row says of a contact, and the row of a contact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from contact_service.domain.contact import Contact, ContactFields
from contact_service.domain.errors import ImportColumnsUnknown
from contact_service.domain.text import one_spelling
from mtenant_chassis.custom_fields import CustomField
from mtenant_chassis.line import Name

OWN: Final = (
    "id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "job_title",
    "status",
    "company",
    "company_id",
    "owner_id",
)
"""Columns that an import reads."""

TOLD: Final = ("created_at", "updated_at")
"""Columns that an export has besides, and an import ignores."""

ERRORS: Final = "import_errors"
"""The column of a file of refused rows that says why; an import ignores it."""

_OTHERS: Final = {
    "firstname": "first_name",
    "given_name": "first_name",
    "lastname": "last_name",
    "surname": "last_name",
    "family_name": "last_name",
    "e_mail": "email",
    "email_address": "email",
    "telephone": "phone",
    "phone_number": "phone",
    "title": "job_title",
    "company_name": "company",
    "organization": "company",
}
_COMPANY: Final[TypeAdapter[str]] = TypeAdapter(Name)
_SHOWN: Final = 100
_MOST_ERRORS: Final = 20


@dataclass(frozen=True)
class RowError:
    """What is wrong with a cell.

    Attributes:
        line: Where the row begins.
        field: The column; None for the whole row.
        code: What it is, for programs.
        message: The same for people.
        value: The cell, as far as it is short.
    """

    line: int
    field: str | None
    code: str
    message: str
    value: str | None = None

    def said(self) -> dict[str, Any]:
        """Return it as JSON; without U+0000, which PostgreSQL has in no text."""
        value = self.value
        return {
            "field": self.field,
            "code": self.code,
            "message": self.message,
            "value": None if value is None else value.replace("\0", "\ufffd"),
        }


@dataclass(frozen=True)
class RowValues:
    """What a row says of a contact.

    Attributes:
        line: Where it begins.
        id: Of a contact that there may be.
        given: The fields whose cells say something.
        fields: All fields; what is not said has its default.
        company: The name of its company.
    """

    line: int
    id: UUID | None
    given: frozenset[str]
    fields: ContactFields
    company: str | None


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes:
        names: What each column is; None for one that means nothing here.
        fields: The tenant's own fields.
    """

    names: Sequence[str | None]
    fields: Sequence[CustomField]

    @classmethod
    def of(cls, header: Sequence[str], fields: Sequence[CustomField]) -> Columns:
        """Read a first row.

        Raises:
            ImportColumnsUnknown: Two columns are the same, or none says who a contact is.
        """
        custom = {f"custom.{field.key}" for field in fields}
        names = [_name(cell, custom) for cell in header]
        known = [name for name in names if name is not None]
        if len(set(known)) != len(known) or not {"first_name", "last_name", "email"} & set(known):
            raise ImportColumnsUnknown
        return cls(names, fields)

    def email(self, cells: Sequence[str]) -> str | None:
        """Return the address that a row seems to have."""
        at = self.names.index("email") if "email" in self.names else len(cells)
        try:
            return (one_spelling(cells[at].strip()) or None) if at < len(cells) else None
        except ValueError:
            return None

    def read(self, line: int, cells: Sequence[str]) -> RowValues | list[RowError]:
        """Return what a row says, or what is wrong with it."""
        texts = {
            name: text
            for name, cell in zip(self.names, cells, strict=False)
            if name is not None and (text := cell.strip())
        }
        if any(cell.strip() for cell in cells[len(self.names) :]):
            return [RowError(line, None, "too_many_cells", "has more cells than the first row")]
        errors: list[RowError] = []
        said: dict[str, Any] = {name: text for name, text in texts.items() if "." not in name}
        identity = _identity(said.pop("id", None))
        company = said.pop("company", None)
        if (status := said.get("status")) is not None:
            said["status"] = status.lower()
        said["custom"] = self._custom(line, texts, errors)
        given = frozenset(said) if said["custom"] else frozenset(said) - {"custom"}
        try:
            fields = ContactFields.model_validate(said)
            company = None if company is None else _COMPANY.validate_python(company)
        except ValidationError as exc:
            return [*errors, *_faults(line, exc, texts)][:_MOST_ERRORS]
        if errors:
            return errors[:_MOST_ERRORS]
        return RowValues(line, identity, given, fields, company)

    def _custom(
        self, line: int, texts: Mapping[str, str], errors: list[RowError]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in self.fields:
            column = f"custom.{field.key}"
            if (text := texts.get(column)) is None:
                continue
            try:
                values[field.key] = field.parse(text)
            except ValueError as exc:
                errors.append(RowError(line, column, "custom_field", str(exc), text[:_SHOWN]))
        return values


def header_of(fields: Sequence[CustomField]) -> list[str]:
    """Return the first row of an export."""
    return [*OWN, *(f"custom.{field.key}" for field in fields), *TOLD]


def row_of(
    contact: Contact, fields: Sequence[CustomField], companies: Mapping[UUID, str]
) -> list[Any]:
    """Return the row of a contact: texts, numbers, booleans, None."""
    named = None if contact.company_id is None else companies.get(contact.company_id)
    said = {**contact.values(), "id": str(contact.id), "company": named}
    said["company_id"] = None if contact.company_id is None else str(contact.company_id)
    return [
        *(said[name] for name in OWN),
        *(contact.custom.get(field.key) for field in fields),
        contact.created_at.isoformat(),
        contact.updated_at.isoformat(),
    ]


def _name(cell: str, custom: set[str]) -> str | None:
    name = cell.strip().strip("\ufeff").lower().replace(" ", "_").replace("-", "_")
    name = _OTHERS.get(name, name)
    return name if name in OWN or name in custom else None


def _identity(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None  # an id of another program, which says nothing here


def _faults(line: int, exc: ValidationError, texts: Mapping[str, str]) -> list[RowError]:
    found = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        places = [str(part) for part in error["loc"]]
        field = ".".join(places[:2]) if places[:1] == ["custom"] else (places or ["company"])[0]
        shown = texts.get(field)
        message = error["msg"].replace("Value error, ", "")
        found.append(RowError(line, field, error["type"], message, shown and shown[:_SHOWN]))
    return found
