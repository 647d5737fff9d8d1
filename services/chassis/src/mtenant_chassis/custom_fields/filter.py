"""Filters by custom fields: `custom.<key>=<value>` in the query of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

from fastapi import Request

from mtenant_chassis.custom_fields.errors import FilterInvalid
from mtenant_chassis.custom_fields.field import CustomField
from mtenant_chassis.line import one_line
from mtenant_chassis.parameters import given

_PREFIX: Final = "custom."


async def custom_filters(request: Request) -> Sequence[tuple[str, str]]:
    """Return the keys and values that a request asks for, as they were written, in one order."""
    return sorted(
        (name.removeprefix(_PREFIX), value)
        for name, value in request.query_params.multi_items()
        if name.startswith(_PREFIX)
    )


CustomFilters = Annotated[Sequence[tuple[str, str]], given(custom_filters)]
"""The same, as a parameter of a route."""


def values_of(fields: Iterable[CustomField], written: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the values that written filters stand for.

    Raises:
        FilterInvalid: There is no such field, or it has no such value.
    """
    known = {one.key: one for one in fields}
    try:
        return {key: known[key].parse(one_line(text)) for key, text in written}
    except (KeyError, ValueError):
        raise FilterInvalid(name=f"{_PREFIX}*") from None
