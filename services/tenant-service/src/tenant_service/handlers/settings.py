"""What a tenant and its users decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mtenant_chassis import AuditTrail, Cached, Chassis, TenantCache
from mtenant_chassis.cache import RECHECK
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant
from tenant_service.domain.event import TenantUpdated
from tenant_service.domain.settings import Preferences, Stored, TenantSettings
from tenant_service.queries import settings as rows

S = TypeVar("S", bound=Stored)

_A_DAY: Final = 24 * 3600.0
_KEY: Final = "settings"


@dataclass(frozen=True)
class Versioned(Generic[S]):
    """Values, and which version they are.

    Attributes:
        values: What was decided.
        version: Grows with every change.
    """

    values: S
    version: int


def cache_of(chassis: Chassis, tenant: str) -> TenantCache:
    """Return where a tenant's settings are kept for a day."""
    return chassis.cache.tenant(tenant, "settings", seconds=_A_DAY, recheck=RECHECK)


async def forget_settings(chassis: Chassis, tenant: str, version: int) -> None:
    """Forget the settings that are older than a version."""
    await cache_of(chassis, tenant).invalidate(_KEY, version)


class Settings:
    """Reads and changes settings and preferences.

    Args:
        chassis: Of the running app.
    """

    def __init__(self, chassis: Chassis) -> None:
        self._chassis = chassis

    async def get(self, tenant: Tenant) -> Versioned[TenantSettings]:
        """Return a tenant's settings, from the cache if they are there."""

        async def load() -> Cached:
            row = await rows.settings(tenant)
            return Cached(row.version, {"values": dict(row.values), "version": row.version})

        found = await cache_of(self._chassis, tenant.id).get(_KEY, load)
        return Versioned(TenantSettings.of_row(found["values"]), found["version"])

    async def put(
        self, tenant: Tenant, audit: AuditTrail, values: TenantSettings, if_match: Condition
    ) -> Versioned[TenantSettings]:
        """Replace a tenant's settings.

        Raises:
            VersionMismatch: They were changed since they were read.
        """
        async with tenant.transaction() as tx:
            before = await rows.lock_settings(tx)
            if_match.check(before.version)
            version = await rows.put_settings(tx, values.model_dump())
            told = TenantUpdated("settings", version)
            await self._chassis.outbox.add(tx, told, key=tenant.id)
            await audit.record(
                tx,
                "settings.changed",
                "settings",
                before=TenantSettings.of_row(before.values).model_dump(),
                after=values.model_dump(),
            )
        # A process that dies here leaves the event, whose consumer does the same.
        await forget_settings(self._chassis, tenant.id, version)
        return Versioned(values, version)

    async def get_preferences(self, tenant: Tenant, user: str) -> Versioned[Preferences]:
        """Return a user's preferences; the default ones have version 0 until the first are there."""
        row = await rows.preferences(tenant, user)
        if row is None:
            return Versioned(Preferences(), 0)
        return Versioned(Preferences.of_row(row.values), row.version)

    async def put_preferences(
        self, tenant: Tenant, user: str, values: Preferences, if_match: Condition
    ) -> Versioned[Preferences]:
        """Replace a user's preferences.

        Raises:
            VersionMismatch: They were changed since they were read.
        """
        async with tenant.transaction() as tx:
            row = await rows.lock_preferences(tx, user)
            if_match.check(row.version if row else 0)
            version = await rows.put_preferences(tx, user, values.model_dump())
        return Versioned(values, version)
