"""Filters of lists and exports, as parameters of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from contact_service.domain.contact import Status
from contact_service.domain.listing import After, Listing, Sort
from contact_service.domain.search import query
from contact_service.domain.text import Email, Owner
from contact_service.queries.custom_fields import HOLDERS, Entity
from mtenant_chassis.custom_fields import custom_filters
from mtenant_chassis.line import one_line
from mtenant_chassis.pages import PageRequest
from mtenant_database import Verbs


def _written(value: object) -> object:
    if not isinstance(value, str) or value[4:5] != "-":  # a number, which would be seconds
        raise PydanticCustomError("datetime", "is no date and time of RFC 3339")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A date and time with its offset."""
_Text = Annotated[str, AfterValidator(one_line)]  # NUL would be an error of the database
_FOUND = "words, each as a beginning: of names, addresses, phones and texts of custom fields"


@dataclass(frozen=True)
class Filters:
    """What a request asks a list for.

    Attributes:
        listing: All but custom fields.
        custom: Values of custom fields, as they were written.
    """

    listing: Listing
    custom: Sequence[tuple[str, str]]

    async def of(self, on: Verbs, entity: Entity, sort: Sort = "-created_at") -> Listing | None:
        """Return the list; None if nothing can be found by what was typed.

        Raises:
            FilterInvalid: There is no such custom field, or it has no such value.
        """
        if self.listing.query == "":
            return None
        custom = await HOLDERS.wanted(on, entity, self.custom)
        return replace(self.listing, sort=sort, custom=custom)


async def _filters(request: Request, q: str | None, equal: dict[str, Any], **said: Any) -> Filters:
    given = {name: value for name, value in equal.items() if value is not None}
    # An empty one is not None: words were typed, and none is one.
    words = None if q is None else query(q) or ""
    return Filters(Listing(query=words, equal=given, **said), await custom_filters(request))


async def contact_filters(
    *,
    request: Request,
    q: Annotated[str | None, Query(max_length=200, description=_FOUND)] = None,
    status: Annotated[Status | None, Query()] = None,
    company_id: Annotated[UUID | None, Query()] = None,
    owner_id: Annotated[Owner | None, Query()] = None,
    email: Annotated[Email | None, Query()] = None,
    created_after: Annotated[Moment | None, Query()] = None,
    created_before: Annotated[Moment | None, Query()] = None,
    updated_after: Annotated[Moment | None, Query()] = None,
    deleted: Annotated[bool, Query(description="those that were deleted, instead")] = False,
) -> Filters:
    """Return which contacts are wanted; `custom.<key>=` filters by custom fields."""
    equal = {"status": status, "company_id": company_id, "owner_id": owner_id, "email": email}
    return await _filters(
        request,
        q,
        equal,
        created_after=created_after,
        created_before=created_before,
        updated_after=updated_after,
        deleted=deleted,
    )


async def company_filters(
    *,
    request: Request,
    q: Annotated[str | None, Query(max_length=200, description=_FOUND)] = None,
    parent_id: Annotated[UUID | None, Query()] = None,
    owner_id: Annotated[Owner | None, Query()] = None,
    domain: Annotated[_Text | None, Query(max_length=253)] = None,
    created_after: Annotated[Moment | None, Query()] = None,
    created_before: Annotated[Moment | None, Query()] = None,
    updated_after: Annotated[Moment | None, Query()] = None,
    deleted: Annotated[bool, Query(description="those that were deleted, instead")] = False,
) -> Filters:
    """Return which companies are wanted; `custom.<key>=` filters by custom fields."""
    equal = {"parent_id": parent_id, "owner_id": owner_id, "domain": domain and domain.lower()}
    return await _filters(
        request,
        q,
        equal,
        created_after=created_after,
        created_before=created_before,
        updated_after=updated_after,
        deleted=deleted,
    )


ContactFilters = Annotated[Filters, Depends(contact_filters)]
CompanyFilters = Annotated[Filters, Depends(company_filters)]
SortQuery = Annotated[Sort, Query(description="with a minus the greatest first")]


def after(page: PageRequest, filters: Filters, sort: Sort) -> After | None:
    """Return the keys after which a page of a list begins.

    Raises:
        CursorInvalid: The cursor is of another list.
    """
    key = str if sort.endswith("name") else datetime
    found = page.after(key, UUID, of=(filters, sort))
    return None if found is None else (found[0], found[1])
