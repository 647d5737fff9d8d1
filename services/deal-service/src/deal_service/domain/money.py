"""Money: whole numbers of a currency's smallest unit, never a float."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from deal_service.domain.currency import EXPONENTS

MOST: Final = 10**15 - 1
"""The largest amount of a deal: fifteen digits are exact in every reader of JSON (RFC 8259, 6).

The table has it, too: an amount times a percent fits into 64 bits."""


def known(code: str) -> str:
    """Return the code of a currency as it is.

    Raises:
        PydanticCustomError: ISO 4217 has none such, or nobody pays with it.
    """
    if code not in EXPONENTS:
        raise PydanticCustomError("currency", "is no currency of ISO 4217")
    return code


AmountMinor = Annotated[
    int,
    Field(ge=0, le=MOST, description="in the smallest unit of the currency", examples=[1250000]),
]
"""An amount in a request."""

Currency = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{3}$"),
    AfterValidator(known),
    WithJsonSchema({"type": "string", "enum": sorted(EXPONENTS), "examples": ["EUR"]}),
]
"""A code of ISO 4217."""


def rounded(exact: Fraction) -> int:
    """Return the nearest whole number; a half goes to the even one.

    >>> rounded(Fraction(5, 2)), rounded(Fraction(7, 2)), rounded(Fraction(251, 100))
    (2, 4, 3)
    """
    return round(exact)


def weighted(hundredths: int) -> int:
    """Return a sum of amounts times percents as an amount, rounded once.

    Args:
        hundredths: The exact sum, in hundredths of the smallest unit.

    >>> weighted(99 * 50 + 1 * 100)
    50
    """
    return rounded(Fraction(hundredths, 100))
