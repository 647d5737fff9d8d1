"""Custom fields of contacts and companies, and the SQL of who has values of them."""

from __future__ import annotations

from typing import Final, Literal, get_args

from mtenant_chassis.custom_fields import FieldTable, Holders
from mtenant_database import Transaction, Verbs

Entity = Literal["contact", "company"]

TABLE: Final = FieldTable("custom_fields")

# Materialized, or the first that it meets by reading the table would seem cheaper than the index.
_CONTACTS_HAVE: Final = (
    "with found as materialized (select id from contacts where custom ? %s and merged_into is null)"
    " select exists (select from found)"
)
_COMPANIES_HAVE: Final = (
    "with found as materialized (select id from companies where custom ? %s)"
    " select exists (select from found)"
)
_FORGET: Final = (
    "update contacts set custom = custom - %(key)s::text"
    " where custom ? %(key)s and merged_into is not null"
)


async def is_in_use(on: Verbs, entity: str, key: str) -> bool:
    """Tell whether anything has a value of it, deleted or not.

    Contacts that were merged away do not count: nobody can take a value from them.
    """
    have = _CONTACTS_HAVE if entity == "contact" else _COMPANIES_HAVE
    return bool(await on.fetch_value(have, [key]))


async def forget_values(tx: Transaction, entity: str, key: str) -> None:
    """Take what is left of a field from contacts that were merged away."""
    if entity == "contact":
        await tx.execute(_FORGET, {"key": key})


HOLDERS: Final = Holders(
    entities=get_args(Entity),
    names="contacts or companies",
    table=TABLE,
    is_in_use=is_in_use,
    forget=forget_values,
)
"""What has custom fields here."""
