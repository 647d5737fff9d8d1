"""SQL of tenants that go. Whoever calls is the registrar: `registration.admit` comes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from mtenant_database import Transaction

STRAGGLERS: Final = timedelta(hours=1)
"""For how long something of a tenant that is gone may come out of an outbox or a handler yet."""

AGAIN: Final = timedelta(minutes=5)
"""Between two looks for it."""

_ADD: Final = "insert into shared.removals (tenant) values (%s) on conflict (tenant) do nothing"
# One that is not gone yet is left: what it has published is read by those who clean up after it.
_DUE: Final = (
    "select tenant from shared.removals where due_at <= now() and not exists"
    " (select from shared.organizations where id = tenant) order by due_at limit 20"
)
_DONE: Final = "delete from shared.removals where tenant = %s and since < now() - %s"
_LATER: Final = "update shared.removals set due_at = now() + %s where tenant = %s"


async def add(tx: Transaction, tenant: str) -> None:
    """Note that a tenant goes."""
    await tx.execute(_ADD, [tenant])


async def due(tx: Transaction) -> list[str]:
    """Return some that are gone, and whose events are to be deleted now."""
    return [str(row[0]) for row in await tx.fetch_all(_DUE)]


async def put_off(tx: Transaction, tenant: str) -> None:
    """Note that it was done now: once more later, or never again."""
    await tx.execute(_DONE, [tenant, STRAGGLERS])
    await tx.execute(_LATER, [AGAIN, tenant])
