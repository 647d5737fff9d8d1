"""Whether the users who should own something are there, as auth-service says."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from contact_service.domain.errors import OwnerUnknown
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import Chassis
from mtenant_errors import NotFound


class Owners:
    """Asks auth-service, in this service's own name; one object remembers what it was told.

    Args:
        chassis: Of the running app.
        own: Says how long it may be silent.
        tenant: Whose users.
        caller: The user who asks, and is there.
    """

    def __init__(
        self, chassis: Chassis, own: ContactServiceSettings, tenant: str, caller: str
    ) -> None:
        self._chassis = chassis
        self._timeout = own.lookup_timeout.total_seconds()
        self._tenant = tenant
        self._told: dict[str, bool] = {caller: True}

    async def check(self, owners: Iterable[str | None]) -> None:
        """Let these own something; None is nobody.

        Raises:
            OwnerUnknown: One of them is not there.
            AppError: auth-service does not answer (503, 504), or not as it should (502).
        """
        if await self.missing(owners):
            raise OwnerUnknown

    async def missing(self, owners: Iterable[str | None]) -> set[str]:
        """Return those who are not there."""
        asked = {one for one in owners if one is not None}
        for one in sorted(asked - self._told.keys()):
            self._told[one] = await self._is_there(one)
        return {one for one in asked if not self._told[one]}

    async def _is_there(self, owner: str) -> bool:
        try:
            path = f"/api/auth/users/{UUID(owner)}"
        except ValueError:
            return False
        client = self._chassis.service("auth-service")
        try:
            answer = await client.get(path, tenant=self._tenant, timeout=self._timeout)
        except NotFound:
            return False
        said = answer.json()
        return isinstance(said, dict) and said.get("status", "active") == "active"
