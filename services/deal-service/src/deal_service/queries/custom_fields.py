"""Custom fields of deals, and the SQL of who has values of them."""

from __future__ import annotations

from typing import Final

from mtenant_chassis.custom_fields import FieldTable, Holders
from mtenant_database import Verbs

TABLE: Final = FieldTable("deal_custom_fields")

# Materialized, or the first that it meets by reading the table would seem cheaper than the index.
_DEALS_HAVE: Final = (
    "with found as materialized (select id from deals where custom ? %s)"
    " select exists (select from found)"
)


async def is_in_use(on: Verbs, _entity: str, key: str) -> bool:
    """Tell whether a deal has a value of it, deleted or not."""
    return bool(await on.fetch_value(_DEALS_HAVE, [key]))


HOLDERS: Final = Holders(entities=("deal",), names="deals", table=TABLE, is_in_use=is_in_use)
"""What has custom fields here."""
