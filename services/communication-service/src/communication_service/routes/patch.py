"""Bodies of PATCH (RFC 7396): a field that is left out changes nothing."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.config import JsonDict


def left_out() -> Any:
    """Return the default of a field that may be left out, and may not be null.

    It is read by `model_dump(exclude_unset=True)` only, so nobody gets to see it.
    """
    return Field(default=None, json_schema_extra=_without_default)


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)
