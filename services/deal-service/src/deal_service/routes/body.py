"""What the bodies of requests have in common."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

STRICT: Final = ConfigDict(extra="forbid", strict=True)
"""Fields that are not known are refused, and "1" is no number."""


class Body(BaseModel):
    """A request's body."""

    model_config = STRICT
