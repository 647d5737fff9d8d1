"""SQL of contacts."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_json

from contact_service.domain.contact import Contact, words_of
from contact_service.domain.listing import After, Listing
from contact_service.queries.listing import filtered, tail
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "id, first_name, last_name, email, phone, job_title, status, company_id, owner_id, custom,"
    " created_at, updated_at, deleted_at, merged_into, version"
)
_NAMES: Final = tuple(_COLUMNS.split(", "))
_ROWS: Final = (
    "jsonb_to_recordset(%(rows)s::jsonb) as r (id uuid, first_name text, last_name text, email text,"
    " phone text, job_title text, status text, company_id uuid, owner_id text, custom jsonb,"
    " words text[])"
)
_BY_ID: Final = f"select {_COLUMNS} from contacts where id = %s and deleted_at is null"
_LOCK: Final = f"select {_COLUMNS} from contacts where id = %s for update"
_LOCK_MANY: Final = (
    f"select {_COLUMNS} from contacts where id = any(%s) and deleted_at is null"
    " order by id for update"
)
_LOCK_KNOWN: Final = (
    f"select {_COLUMNS} from contacts where deleted_at is null"
    " and (id = any(%(ids)s) or email = any(%(emails)s)) order by id for update"
)
_KNOWN: Final = (
    f"select {_COLUMNS} from contacts where deleted_at is null"
    " and (id = any(%(ids)s) or email = any(%(emails)s))"
)
_LIST: Final = f"select {_COLUMNS}, sort_name from contacts"
_COUNT: Final = "select count(*) from contacts"
_EXPORT: Final = f"select {_COLUMNS} from contacts"
_CANDIDATES: Final = (
    f"(select {_COLUMNS} from contacts where deleted_at is null and email = %(email)s)"
    f" union (select {_COLUMNS} from contacts where deleted_at is null"
    " and phone_digits = regexp_replace(%(phone)s, '[^0-9]', '', 'g') and phone_digits <> '' limit 10)"
    f" union (select {_COLUMNS} from contacts where deleted_at is null and company_id = %(company)s"
    " and sort_name = lower(%(last)s::text || ' ' || %(first)s::text)"
    # Those without a name would all have the same.
    " and %(last)s::text || %(first)s::text <> '' limit 10) limit 10"
)
_INTO: Final = (
    "contacts (id, first_name, last_name, email, phone, job_title, status, company_id, owner_id, custom,"
    " search)"
)
_UNLESS_KNOWN: Final = " on conflict (email) where deleted_at is null do nothing"
_ADD: Final = (
    f"insert into {_INTO} values (%(id)s, %(first_name)s, %(last_name)s, %(email)s, %(phone)s,"
    " %(job_title)s, %(status)s, %(company_id)s, %(owner_id)s, %(custom)s::jsonb,"
    f" array_to_tsvector(string_to_array(%(words)s, ' '))){_UNLESS_KNOWN}"
    " returning custom, created_at, updated_at, version"
)
_ADD_MANY: Final = (
    f"insert into {_INTO} select id, first_name, last_name, email, phone, job_title, status,"
    f" company_id, owner_id, custom, array_to_tsvector(words) from {_ROWS}{_UNLESS_KNOWN}"
    f" returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update contacts set first_name = r.first_name, last_name = r.last_name, email = r.email,"
    " phone = r.phone, job_title = r.job_title, status = r.status, company_id = r.company_id,"
    " owner_id = r.owner_id, custom = r.custom, search = array_to_tsvector(r.words),"
    f" updated_at = now(), version = version + 1 from {_ROWS} where contacts.id = r.id returning "
    + ", ".join(f"contacts.{name}" for name in _NAMES)
)
# Not null: who has no name must have an address. An id is none that anybody could have.
_FREE: Final = "update contacts set email = id::text where id = any(%s)"
_DELETE: Final = (
    "update contacts set deleted_at = now(), updated_at = now(), version = version + 1,"
    f" merged_into = %s where id = any(%s) returning {_COLUMNS}"
)
_RESTORE: Final = (
    "update contacts set deleted_at = null, company_id = %s, updated_at = now(),"
    f" version = version + 1 where id = %s returning {_COLUMNS}"
)
_PURGE: Final = (
    "with recursive gone as (select id from contacts where id = %s union"
    " select contacts.id from contacts join gone on contacts.merged_into = gone.id)"
    " delete from contacts where id in (select id from gone) returning id"
)


async def get(on: Verbs, contact: UUID) -> Contact | None:
    """Return a contact that is there."""
    return await on.fetch_optional(_BY_ID, [contact], row=Contact)


async def lock(tx: Transaction, contact: UUID) -> Contact | None:
    """Return one, deleted or not, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(_LOCK, [contact], row=Contact)


async def lock_many(tx: Transaction, contacts: Collection[UUID]) -> Sequence[Contact]:
    """Return those that are there and lock them, in an order in which nobody waits for another."""
    return await tx.fetch_all(_LOCK_MANY, [list(contacts)], row=Contact)


async def known(
    on: Verbs, ids: Collection[UUID], emails: Collection[str], *, lock: bool
) -> Sequence[Contact]:
    """Return those that have one of the ids or addresses."""
    params = {"ids": list(ids), "emails": list(emails)}
    return await on.fetch_all(_LOCK_KNOWN if lock else _KNOWN, params, row=Contact)


async def page(
    on: Verbs, asked: Listing, *, after: After | None, limit: int
) -> Sequence[tuple[Contact, str]]:
    """Return contacts of a list, each with its key if it is sorted by name."""
    end, params = tail(asked, after, limit)
    rows = await on.fetch_all((_LIST + end).encode(), params)
    return [(Contact(*row[:-1]), row[-1]) for row in rows]


async def count(on: Verbs, asked: Listing) -> int:
    """Return how many contacts a list has."""
    where, params = filtered(asked)
    return int(await on.fetch_value((_COUNT + where).encode(), params))


async def export(
    on: Verbs, asked: Listing, *, after: After | None, limit: int
) -> Sequence[Contact]:
    """Return contacts in the order in which they were made."""
    end, params = tail(asked, after, limit)
    return await on.fetch_all((_EXPORT + end).encode(), params, row=Contact)


async def candidates(on: Verbs, values: Mapping[str, Any]) -> Sequence[Contact]:
    """Return at most ten that may be the same: by address, phone, or name and company."""
    params = {
        "email": values["email"],
        "phone": values["phone"],
        "company": values["company_id"],
        "last": values["last_name"],
        "first": values["first_name"],
    }
    return await on.fetch_all(_CANDIDATES, params, row=Contact)


async def add(tx: Transaction, contact: UUID, values: Mapping[str, Any]) -> Contact | None:
    """Add a contact; None if somebody has its address by now."""
    # Not as one of many: of one row the server would read JSON for longer than it inserts.
    texts = {"custom": _json(values["custom"]), "words": " ".join(words_of(values))}
    stored = await tx.fetch_optional(_ADD, {**values, **texts, "id": contact}, row=dict)
    if stored is None:
        return None
    # The rest is there as it was sent; of JSON numbers may be written otherwise.
    return Contact(**{**values, **stored}, id=contact, deleted_at=None, merged_into=None)


async def add_many(
    tx: Transaction, contacts: Sequence[tuple[UUID, Mapping[str, Any]]]
) -> Sequence[Contact]:
    """Add contacts; those whose address somebody has by now are left out."""
    return await tx.fetch_all(_ADD_MANY, {"rows": _rows(contacts)}, row=Contact)


async def change(
    tx: Transaction, contacts: Sequence[tuple[UUID, Mapping[str, Any]]]
) -> Sequence[Contact]:
    """Give contacts other fields."""
    return await tx.fetch_all(_CHANGE, {"rows": _rows(contacts)}, row=Contact)


async def free_addresses(tx: Transaction, contacts: Collection[UUID]) -> None:
    """Let contacts have no address until `change` gives them one.

    One UPDATE that passes addresses on would fail: the index is asked after each row, and not at the end.
    """
    await tx.execute(_FREE, [list(contacts)])


async def delete(
    tx: Transaction, contacts: Collection[UUID], *, into: UUID | None = None
) -> Sequence[Contact]:
    """Delete contacts, so that they can be restored."""
    return await tx.fetch_all(_DELETE, [into, list(contacts)], row=Contact)


async def restore(tx: Transaction, contact: UUID, company: UUID | None) -> Contact:
    """Bring a contact back."""
    return await tx.fetch_one(_RESTORE, [company, contact], row=Contact)


async def purge(tx: Transaction, contact: UUID) -> Sequence[UUID]:
    """Remove a contact, and those that became part of it; return which."""
    return [which for (which,) in await tx.fetch_all(_PURGE, [contact])]


def _rows(contacts: Sequence[tuple[UUID, Mapping[str, Any]]]) -> str:
    return _json([{"id": which, **values, "words": words_of(values)} for which, values in contacts])


def _json(value: object) -> str:
    # NaN as it is, which the server refuses, and not as null.
    return to_json(value, inf_nan_mode="constants").decode()
