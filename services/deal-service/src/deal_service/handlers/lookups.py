"""Whether what belongs to other services is there: contacts, and users who own deals."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from deal_service.domain.errors import ContactUnknown, OwnerUnknown
from deal_service.settings import DealServiceSettings
from mtenant_chassis import Chassis
from mtenant_errors import AppError, NotFound

_AT_ONCE: Final = 8  # questions of one request


@dataclass(frozen=True)
class Known:
    """What other services say is there.

    Attributes:
        contacts: The contacts of those that were asked for.
        owners: The same of users.
    """

    contacts: frozenset[UUID] = frozenset()
    owners: frozenset[str] = frozenset()

    def check_contacts(self, asked: Collection[UUID]) -> None:
        """Let contacts belong to a deal.

        Raises:
            ContactUnknown: One of them is not there.
        """
        if not self.contacts.issuperset(asked):
            raise ContactUnknown

    def check_owner(self, asked: str | None) -> None:
        """Let a user own a deal, or nobody.

        Raises:
            OwnerUnknown: There is none.
        """
        if asked is not None and asked not in self.owners:
            raise OwnerUnknown


class Lookups:
    """Asks contact-service and auth-service, in this service's own name.

    Args:
        chassis: Of the running app.
        own: Says how long they may be silent.
    """

    def __init__(self, chassis: Chassis, own: DealServiceSettings) -> None:
        self._chassis = chassis
        self._timeout = own.lookup_timeout.total_seconds()
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(
        self,
        tenant: str,
        *,
        contacts: Collection[UUID] = (),
        owners: Collection[str] = (),
        caller: str | None = None,
    ) -> Known:
        """Find out what is there, before a transaction has begun.

        Args:
            tenant: Whose.
            contacts: Ids of contacts.
            owners: Ids of users.
            caller: The user who asks, who is there.

        Raises:
            AppError: One of the services does not answer (503, 504), or not as it should (502).
        """
        mine = {caller} & set(owners)
        people = sorted(one for one in set(owners) - mine if _is_id(one))
        paths = {f"/api/contacts/{one}": one for one in set(contacts)}
        try:
            async with asyncio.TaskGroup() as group:
                asked = {
                    one: group.create_task(self._find("contact-service", path, tenant))
                    for path, one in paths.items()
                }
                others = {
                    one: group.create_task(
                        self._find("auth-service", f"/api/auth/users/{one}", tenant)
                    )
                    for one in people
                }
        except* AppError as failed:
            raise failed.exceptions[0] from None
        there = {one for one, task in asked.items() if task.result() is not None}
        # A user who was disabled stays with auth-service, and owns nothing new.
        active = {
            one for one, task in others.items() if (task.result() or {}).get("status") == "active"
        }
        return Known(frozenset(there), frozenset(active | {one for one in mine if one is not None}))

    async def _find(self, service: str, path: str, tenant: str) -> dict[str, Any] | None:
        async with self._gate:
            try:
                answer = await self._chassis.service(service).get(
                    path, tenant=tenant, timeout=self._timeout
                )
            except NotFound:
                return None
        found: dict[str, Any] = answer.json()
        return found


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
