"""The end of a SELECT that lists: conditions from a closed set, an order, a page.

Values are parameters. A condition stands there only if it is asked for, so that each list has the plan
that suits it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from contact_service.domain.listing import After, Listing

_SORT: Final = {"created_at": "created_at", "updated_at": "updated_at", "name": "sort_name"}
_COLUMNS: Final = frozenset({"status", "company_id", "owner_id", "email", "parent_id", "domain"})


def tail(asked: Listing, after: After | None, limit: int) -> tuple[str, dict[str, Any]]:
    """Return `where ... order by ... limit ...` and its parameters."""
    where, params = filtered(asked)
    params["limit"] = limit
    column = _SORT[asked.key]
    way, beyond = ("desc", "<") if asked.sort.startswith("-") else ("asc", ">")
    if after is not None:
        where += f" and ({column}, id) {beyond} (%(at)s, %(id)s)"
        params["at"], params["id"] = after
    return f"{where} order by {column} {way}, id {way} limit %(limit)s", params


def filtered(asked: Listing) -> tuple[str, dict[str, Any]]:
    """Return `where ...`, which is the same on each page, and its parameters."""
    params: dict[str, Any] = {}
    conditions = ["deleted_at is not null" if asked.deleted else "deleted_at is null"]
    for column, value in asked.equal.items():
        conditions.append(f"{_known(column, _COLUMNS)} = %({column})s")
        params[column] = value
    bounds = {
        "created_after": "created_at >=",
        "created_before": "created_at <",
        "updated_after": "updated_at >=",
    }
    for name, bound in bounds.items():
        if (at := getattr(asked, name)) is not None:
            conditions.append(f"{bound} %({name})s")
            params[name] = at
    if asked.query is not None:
        conditions.append("search @@ %(query)s::tsquery")
        params["query"] = asked.query
    if asked.custom:
        conditions.append("custom @> %(custom)s::jsonb")
        params["custom"] = json.dumps(dict(asked.custom))
    return f" where {' and '.join(conditions)}", params


def _known(column: str, columns: Collection[str]) -> str:
    if column not in columns:
        raise ValueError(f"a list has no filter {column!r}")
    return column
