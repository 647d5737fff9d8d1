"""Pages: a part of a list, and how to ask for what follows.

A cursor holds the values of the last row's keys, so that rows which come and go meanwhile shift
nothing, and the thousandth page costs what the first one does. It is no secret and no capability: it is
used as parameters of the tenant's own query.

```python
@router.get("", dependencies=[requires("contacts:read")])
async def list_contacts(tenant: Tenant, page: PageQuery, response: Response, status: str | None = None) -> Page[Contact]:
    after = page.after(datetime, UUID, of=("created_at desc, id desc", status))
    rows = await queries.contacts(tenant, status, after=after, limit=page.limit + 1)
    total = await page.total(lambda: queries.count(tenant, status))
    return page.of(rows, key=lambda row: (row.created_at, row.id), total=total)
```
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from mtenant_errors import BadRequest

T = TypeVar("T")

MOST: Final = 200
"""Items of a page, at most."""

USUAL: Final = 50
"""Items of a page without `limit`."""

_LONGEST_CURSOR: Final = 1024


class CursorInvalid(BadRequest):
    """The cursor is none, or of another list: another filter, another order."""

    code, message = "CURSOR_INVALID", "the cursor does not belong to this list: begin again"


class Page(BaseModel, Generic[T]):
    """Some items of many.

    Attributes:
        items: The items.
        next_cursor: What to ask for next; None at the end.
        total: How many items all pages have together; None unless the request wants to know.
    """

    items: list[T]
    next_cursor: str | None = Field(
        default=None, description="pass it as `cursor`; null at the end"
    )
    total: int | None = Field(
        default=None, description="items of all pages; null without `include_total`"
    )


class PageRequest:
    """Which page a request wants.

    Attributes:
        limit: How many items at most. Ask the database for one more: so it is known whether any follow.
        cursor: As it came, or None for the first page.
        include_total: Whether it wants to know how many items all pages have.
    """

    def __init__(
        self,
        request: Request,
        response: Response,
        limit: int,
        cursor: str | None,
        *,
        include_total: bool = False,
    ) -> None:
        self.limit = limit
        self.cursor = cursor
        self.include_total = include_total
        self._request = request
        self._response = response
        self._of: str | None = None

    def after(self, *types: Any, of: object) -> tuple[Any, ...] | None:
        """Return the keys of the row after which the page begins, or None for the first page.

        Args:
            *types: The type of each key, such as `datetime, UUID`.
            of: Everything that decides which rows there are and in which order: filters, sorting.

        Raises:
            CursorInvalid: The cursor is none, or was made for another `of`.
        """
        self._of = _digest(of)
        if self.cursor is None:
            return None
        return read_cursor(self.cursor, types, self._of)

    async def total(self, count: Callable[[], Awaitable[int]]) -> int | None:
        """Return how many items all pages have, if the request wants to know: it costs reading them.

        Args:
            count: Counts them; is not called otherwise.
        """
        return await count() if self.include_total else None

    def of(
        self,
        rows: Sequence[T],
        *,
        key: Callable[[T], Sequence[object]],
        total: int | None,
    ) -> Page[T]:
        """Return the page, and say by `Link` where the next one is (RFC 8288).

        Args:
            rows: At most `limit + 1` of them.
            key: Returns the keys of a row, in the order of the types of `after`.
            total: What `total` returned.

        Raises:
            RuntimeError: `after` was not called before, so that nothing is known of the filter.
        """
        if self._of is None:
            raise RuntimeError("call page.after(...) before page.of(...): it knows the filter")
        if len(rows) <= self.limit:
            return Page(items=list(rows), total=total)
        items = list(rows[: self.limit])
        cursor = write_cursor(key(items[-1]), self._of)
        self.link(cursor)
        return Page(items=items, next_cursor=cursor, total=total)

    def link(self, cursor: str) -> None:
        """Say by `Link` where the page of a cursor is, as `of` does."""
        asked = self._request.query_params.multi_items()
        kept = [(name, value) for name, value in asked if name != "cursor"]
        # A path alone: behind a gateway nobody here knows the name that the client used.
        path = quote(self._request.scope["path"], safe="/:@!$&'()*+,;=~")
        following = f"{path}?{urlencode([*kept, ('cursor', cursor)])}"
        self._response.headers["link"] = f'<{following}>; rel="next"'


WHOLE: Final[Mapping[str, None]] = {"at": None, "id": None, "limit": None}
"""A listing's parameters of a page, for all of its rows: no cursor and no limit."""


def counted(listing: str) -> str:
    """Return the statement that counts what a listing returns, if it is not asked for a page.

    Args:
        listing: A SELECT whose cursor may be null; so may its limit, and is none then.
    """
    return f"select count(*) from ({listing}) as listed"  # noqa: S608 - a constant of queries.py


def write_cursor(keys: Sequence[object], of: str) -> str:
    """Return the cursor for what follows a row with these keys."""
    document = json.dumps([of, *(_plain(key) for key in keys)], separators=(",", ":"))
    return urlsafe_b64encode(document.encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, types: Sequence[Any], of: str) -> tuple[Any, ...]:
    """Return the keys of a cursor.

    Raises:
        CursorInvalid: It is none, or of another list.
    """
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise CursorInvalid
        document = json.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if not isinstance(document, list) or document[:1] != [of]:
            raise CursorInvalid
        keys = document[1:]
        return tuple(
            _adapter(of_type).validate_json(json.dumps(key))
            for of_type, key in zip(types, keys, strict=True)
        )
    except (ValueError, RecursionError, ValidationError) as exc:
        raise CursorInvalid(internal=type(exc).__name__) from None


def _adapter(of_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(of_type)


def _digest(of: object) -> str:
    return blake2b(repr(of).encode(), digest_size=6).hexdigest()


def _plain(key: object) -> object:
    if isinstance(key, datetime | date):
        return key.isoformat()
    if isinstance(key, UUID | Decimal):
        return str(key)
    if isinstance(key, str | int | float) and not isinstance(key, bool):
        return key
    raise TypeError(
        f"a page has no key of type {type(key).__name__}: order by a column that is one"
    )


async def page_request(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="items of a page")] = USUAL,
    cursor: Annotated[
        str | None, Query(max_length=_LONGEST_CURSOR, description="`next_cursor` of a page")
    ] = None,
    include_total: Annotated[bool, Query(description="count the items of all pages, too")] = False,
) -> PageRequest:
    """Return which page is wanted."""
    return PageRequest(request, response, limit, cursor, include_total=include_total)


PageQuery = Annotated[PageRequest, Depends(page_request)]
"""`limit`, `cursor` and `include_total` of a request, as a parameter of a route."""
