"""Look-ups of contacts, kept for 15 minutes; a tenant that is suspended has none after 30 seconds."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from contact_service.domain.contact import Contact
from contact_service.domain.errors import ContactNotFound
from contact_service.queries import contacts as rows
from mtenant_chassis import Cached, Chassis, TenantCache
from mtenant_chassis.cache import RECHECK
from mtenant_database import Tenant

_SECONDS: Final = 15 * 60.0


class Lookup:
    """Returns contacts by id.

    A writer forgets the contact before it commits: what is left in the cache says that nothing before the
    version that it is about to write may come back, so that no crash and no slow reader brings it back. If
    it rolls back, the contact is read from the database for a while.

    Args:
        chassis: Of the running app.
        tenant: Whose contacts.
    """

    def __init__(self, chassis: Chassis, tenant: str) -> None:
        self._cache: TenantCache = chassis.cache.tenant(
            tenant, "contact", seconds=_SECONDS, recheck=RECHECK
        )

    async def get(self, tenant: Tenant, contact: UUID) -> dict[str, Any]:
        """Return a contact as JSON.

        Raises:
            ContactNotFound: There is none.
        """

        async def load() -> Cached | None:
            found = await rows.get(tenant, contact)
            return None if found is None else Cached(found.version, said(found))

        value = await self._cache.get(str(contact), load)
        if value is None:
            raise ContactNotFound
        found: dict[str, Any] = value
        return found

    async def forget(self, contact: Contact) -> None:
        """Forget what was before this version of a contact; call it before the commit."""
        await self.forget_version(str(contact.id), contact.version)

    async def forget_version(self, contact: str, version: int) -> None:
        """Forget what was before a version."""
        await self._cache.invalidate(contact, version)


def said(contact: Contact) -> dict[str, Any]:
    """Return a contact as JSON."""
    values = contact.values()
    values["company_id"] = None if contact.company_id is None else str(contact.company_id)
    return {
        "id": str(contact.id),
        "name": contact.name,
        **values,
        "created_at": contact.created_at.isoformat(),
        "updated_at": contact.updated_at.isoformat(),
        "version": contact.version,
    }
