"""What a tenant decides for all of its users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


def known_zone(name: str) -> str:
    """Return the name of a time zone as it is.

    Raises:
        PydanticCustomError: The time zone database does not know it.
    """
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise PydanticCustomError("timezone", "is no time zone of the IANA database") from None
    return name


Locale = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$"), Field(examples=["en", "de-CH"])
]
"""A language and perhaps a region (RFC 5646)."""

Zone = Annotated[
    str,
    StringConstraints(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"),
    AfterValidator(known_zone),
    Field(examples=["Europe/Zurich"]),
]
"""A name of the IANA time zone database."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(examples=["EUR"])]
"""A code of ISO 4217."""


class Stored(BaseModel):
    """Values of a row of JSON: what the row does not say has its default."""

    model_config = ConfigDict(extra="forbid", strict=True)  # 0 is no boolean

    @classmethod
    def of_row(cls, values: Mapping[str, Any]) -> Self:
        """Return what a row says; a key that this release does not know is another release's."""
        return cls.model_validate({k: v for k, v in values.items() if k in cls.model_fields})


class TenantSettings(Stored):
    """What a tenant decides for all of its users."""

    locale: Locale = Field(default="en", description="of whoever has not chosen another")
    timezone: Zone = Field(default="UTC", description="of whoever has not chosen another")
    currency: Currency = Field(default="USD", description="of new amounts")
    week_starts_on: Literal["monday", "saturday", "sunday"] = "monday"
    open_registration: bool = Field(
        default=False, description="whether people may make an account without an invitation"
    )


class Preferences(Stored):
    """What a user decides alone; null is what the tenant has decided."""

    locale: Locale | None = None
    timezone: Zone | None = None
    theme: Literal["system", "light", "dark"] = "system"
    email_notifications: bool = True
