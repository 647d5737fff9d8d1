"""SQL of companies."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from contact_service.domain.company import Branch, Company, words_of
from contact_service.domain.listing import After, Listing
from contact_service.queries.listing import filtered, tail
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "id, name, domain, industry, phone, parent_id, owner_id, custom, created_at, updated_at,"
    " deleted_at, version"
)
_NAMES: Final = tuple(_COLUMNS.split(", "))
_BY_ID: Final = f"select {_COLUMNS} from companies where id = %s and deleted_at is null"
_LOCK: Final = f"select {_COLUMNS} from companies where id = %s for no key update"
_LOCK_OUT: Final = f"select {_COLUMNS} from companies where id = %s for update"
_HOLD: Final = "select id from companies where id = any(%s) and deleted_at is null for key share"
_LIST: Final = f"select {_COLUMNS}, sort_name from companies"
_COUNT: Final = "select count(*) from companies"
_NAMED: Final = (
    "select distinct on (sort_name) sort_name, id from companies where deleted_at is null"
    " and sort_name in (select lower(name) from unnest(%s::text[]) as name)"
    " order by sort_name, id"
)
_NAMES_OF: Final = "select id, name from companies where id = any(%s)"
_ADD: Final = (
    "insert into companies (id, name, domain, industry, phone, parent_id, owner_id, custom, search)"
    " values (%(id)s, %(name)s, %(domain)s, %(industry)s, %(phone)s, %(parent_id)s, %(owner_id)s,"
    f" %(custom)s::jsonb, array_to_tsvector(%(words)s::text[])) returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update companies set name = %(name)s, domain = %(domain)s, industry = %(industry)s,"
    " phone = %(phone)s, parent_id = %(parent_id)s, owner_id = %(owner_id)s,"
    " custom = %(custom)s::jsonb, search = array_to_tsvector(%(words)s::text[]),"
    f" updated_at = now(), version = version + 1 where id = %(id)s returning {_COLUMNS}"
)
_DELETE: Final = (
    "update companies set deleted_at = now(), updated_at = now(), version = version + 1"
    " where id = %s"
)
_RESTORE: Final = (
    "update companies set deleted_at = null, parent_id = %s, updated_at = now(),"
    f" version = version + 1 where id = %s returning {_COLUMNS}"
)
_IN_USE: Final = (
    "select exists (select from companies where parent_id = %(id)s and deleted_at is null)"
    " or exists (select from contacts where company_id = %(id)s and deleted_at is null)"
)
_ABOVE: Final = (
    "with recursive above (id, parent_id, depth) as (select id, parent_id, 1 from companies"
    " where id = %(id)s union all select c.id, c.parent_id, a.depth + 1 from companies c"
    " join above a on c.id = a.parent_id where a.depth <= %(most)s) select id from above"
)
_DEPTH: Final = (
    "with recursive below (id, depth) as (select %(id)s::uuid, 1 union all"
    " select c.id, b.depth + 1 from below b cross join lateral"  # OFFSET 0 as below
    " (select id from companies where parent_id = b.id offset 0) c where b.depth <= %(most)s)"
    " select max(depth) from below"
)
_BELOW: Final = (
    "with recursive below (id, name, parent_id, depth) as (select id, name, parent_id, 0"
    " from companies where id = %(id)s and deleted_at is null union all"
    # OFFSET 0 keeps it a look-up by the index for each company: its number of children is badly guessed.
    " select c.id, c.name, c.parent_id, b.depth + 1 from below b cross join lateral"
    " (select id, name, parent_id from companies where parent_id = b.id and deleted_at is null"
    " offset 0) c)"
    " select id, name, parent_id, depth from below order by depth, id limit %(limit)s"
)


async def get(on: Verbs, company: UUID) -> Company | None:
    """Return a company that is there."""
    return await on.fetch_optional(_BY_ID, [company], row=Company)


async def lock(tx: Transaction, company: UUID) -> Company | None:
    """Return one, deleted or not, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(_LOCK, [company], row=Company)


async def lock_out(tx: Transaction, company: UUID) -> Company | None:
    """The same, and nothing is made to belong to it meanwhile."""
    return await tx.fetch_optional(_LOCK_OUT, [company], row=Company)


async def hold(tx: Transaction, companies: Collection[UUID]) -> set[UUID]:
    """Return those that are there; none of them is deleted until the transaction ends."""
    return {row[0] for row in await tx.fetch_all(_HOLD, [list(companies)])}


async def page(
    on: Verbs, asked: Listing, *, after: After | None, limit: int
) -> Sequence[tuple[Company, str]]:
    """Return companies of a list, each with its key if it is sorted by name."""
    end, params = tail(asked, after, limit)
    rows = await on.fetch_all((_LIST + end).encode(), params, row=dict)
    return [(Company(**{name: row[name] for name in _NAMES}), row["sort_name"]) for row in rows]


async def count(on: Verbs, asked: Listing) -> int:
    """Return how many companies a list has."""
    where, params = filtered(asked)
    return int(await on.fetch_value((_COUNT + where).encode(), params))


async def named(on: Verbs, names: Collection[str]) -> dict[str, UUID]:
    """Return by name, in lower case, the oldest company of those that are called so."""
    return dict(await on.fetch_all(_NAMED, [list(names)]))


async def names_of(on: Verbs, companies: Collection[UUID]) -> dict[UUID, str]:
    """Return what companies are called."""
    return dict(await on.fetch_all(_NAMES_OF, [list(companies)]))


async def add(tx: Transaction, company: UUID, values: Mapping[str, Any]) -> Company:
    """Add a company."""
    return await tx.fetch_one(_ADD, _params(company, values), row=Company)


async def change(tx: Transaction, company: UUID, values: Mapping[str, Any]) -> Company:
    """Give it other fields."""
    return await tx.fetch_one(_CHANGE, _params(company, values), row=Company)


async def delete(tx: Transaction, company: UUID) -> None:
    """Delete it, so that it can be restored."""
    await tx.execute(_DELETE, [company])


async def restore(tx: Transaction, company: UUID, parent: UUID | None) -> Company:
    """Bring it back."""
    return await tx.fetch_one(_RESTORE, [parent, company], row=Company)


async def is_in_use(tx: Transaction, company: UUID) -> bool:
    """Tell whether a company or a contact belongs to it."""
    return bool(await tx.fetch_value(_IN_USE, {"id": company}))


async def above(on: Verbs, company: UUID, *, most: int) -> list[UUID]:
    """Return a company and those above it, one more than `most` of them at most."""
    return [row[0] for row in await on.fetch_all(_ABOVE, {"id": company, "most": most})]


async def depth(on: Verbs, company: UUID, *, most: int) -> int:
    """Return how many companies are above one another from this one down, `most` and one at most.

    Deleted ones count: they come back to where they were.
    """
    return int(await on.fetch_value(_DEPTH, {"id": company, "most": most}))


async def below(on: Verbs, company: UUID, *, limit: int) -> Sequence[Branch]:
    """Return a company and those below it, the nearest first."""
    return await on.fetch_all(_BELOW, {"id": company, "limit": limit}, row=Branch)


def _params(company: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **values,
        "id": company,
        "custom": json.dumps(values["custom"]),
        "words": words_of(values),
    }
