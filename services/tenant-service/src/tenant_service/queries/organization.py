"""SQL of organizations: in a tenant's transaction they are that tenant's, elsewhere any."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from mtenant_database import Transaction, Verbs
from tenant_service.domain.organization import Organization, OrganizationStatus

HELD: Final = timedelta(days=30)
"""For how long nobody else gets a subdomain that was given up: links and mails still name it."""

EXPORTED: Final = timedelta(hours=24)
"""For how long an export allows to delete what was exported."""

Change = Literal["name", "subdomain", "plan"]

_COLUMNS: Final = "id, name, subdomain, plan, status, exported_at, created_at, updated_at, version"
_GET: Final = f"select {_COLUMNS} from shared.organizations where id = %s"
_ADD: Final = (
    "insert into shared.organizations (id, name, subdomain, plan, status)"
    " values (%s, %s, %s, %s, 'provisioning') on conflict (id) do nothing"
)
_FIND: Final = (
    "select id from shared.organizations where subdomain = %s"
    " and status not in ('provisioning', 'deleting')"
)
_CHANGE: Final[dict[str, str]] = {
    name: f"update shared.organizations set {name} = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
    for name in ("name", "subdomain", "plan")
}
_MOVE: Final = (
    "update shared.organizations set status = %s, updated_at = now(), version = version + 1"
    f" where id = %s and status = %s returning {_COLUMNS}"
)
_EXPORTED: Final = "update shared.organizations set exported_at = now() where id = %s"
_MAY_BE_DELETED: Final = (
    "select exported_at > now() - %s from shared.organizations where id = %s and exported_at"
    " is not null"
)
_HOLD: Final = (
    "update shared.subdomains set held_until = now() + %s where tenant = %s and name = %s"
)
_HOLD_ALL: Final = "update shared.subdomains set held_until = now() + %s where tenant = %s"
_ON_THEIR_WAY: Final = (
    "select id, status from shared.organizations"
    " where status in ('suspending', 'reactivating', 'deleting') order by updated_at limit 20"
)


async def get(on: Verbs, tenant: str) -> Organization | None:
    """Return an organization."""
    return await on.fetch_optional(_GET, [tenant], row=Organization)


async def lock(tx: Transaction, tenant: str) -> Organization | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(f"{_GET} for no key update", [tenant], row=Organization)


async def add(tx: Transaction, tenant: str, name: str, subdomain: str, plan: str) -> None:
    """Add one that is not ready; nothing happens if it is there."""
    await tx.execute(_ADD, [tenant, name, subdomain, plan])


async def find(on: Verbs, subdomain: str) -> str | None:
    """Return the id of the one that is found at a subdomain."""
    row = await on.fetch_optional(_FIND, [subdomain])
    return None if row is None else str(row[0])


async def change(tx: Transaction, tenant: str, what: Change, value: str) -> Organization:
    """Change one thing about it, and return how it is then."""
    return await tx.fetch_one(_CHANGE[what], [value, tenant], row=Organization)


async def move(
    tx: Transaction, tenant: str, *, to: OrganizationStatus, of: OrganizationStatus
) -> Organization | None:
    """Give it another status; None if it has not the one that is expected."""
    return await tx.fetch_optional(_MOVE, [to, tenant, of], row=Organization)


async def note_export(tx: Transaction, tenant: str) -> None:
    """Note that its data was exported."""
    await tx.execute(_EXPORTED, [tenant])


async def may_be_deleted(tx: Transaction, tenant: str) -> bool:
    """Tell whether its data was exported a short while ago."""
    return await tx.fetch_optional(_MAY_BE_DELETED, [EXPORTED, tenant]) == (True,)


async def hold_name(tx: Transaction, tenant: str, subdomain: str) -> None:
    """Keep a name that was given up from others for a while; the registrar's."""
    await tx.execute(_HOLD, [HELD, tenant, subdomain])


async def hold_names(tx: Transaction, tenant: str) -> None:
    """The same for all names of a tenant that goes."""
    await tx.execute(_HOLD_ALL, [HELD, tenant])


async def on_their_way(on: Verbs) -> list[tuple[str, OrganizationStatus]]:
    """Return some whose status has to be brought about: id and status."""
    rows: list[tuple[Any, ...]] = await on.fetch_all(_ON_THEIR_WAY)
    return [(row[0], row[1]) for row in rows]
