"""Whoever and whatever other services have: asked by the client, in this service's own name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from communication_service.domain.activity import Related
from communication_service.domain.errors import RelatedNotFound
from mtenant_chassis import Chassis
from mtenant_errors import NotFound

CALLEES: Final = ("auth-service", "contact-service", "deal-service")

_PATHS: Final = {
    "contact": ("contact-service", "/api/contacts/{}"),
    "company": ("contact-service", "/api/companies/{}"),
    "deal": ("deal-service", "/api/deals/{}"),
    "user": ("auth-service", "/api/auth/users/{}"),
}


@dataclass(frozen=True)
class Person:
    """Somebody to write to.

    Attributes:
        name: What they are called; perhaps nothing.
        email: Their address, if it is known.
    """

    name: str
    email: str | None


class Directory:
    """Asks for one tenant.

    Args:
        chassis: Of the running app.
        tenant: For which one.
    """

    def __init__(self, chassis: Chassis, tenant: str) -> None:
        self._chassis = chassis
        self._tenant = tenant

    async def check(self, related: Related) -> None:
        """Ask whether they are all there.

        Raises:
            RelatedNotFound: One is not.
        """
        await asyncio.gather(*(self._get(entity, which) for entity, which in related.all))

    async def contact(self, contact: UUID) -> Person:
        """Return a contact.

        Raises:
            RelatedNotFound: There is none.
        """
        return _person(await self._get("contact", contact))

    async def user(self, user: str) -> Person:
        """Return a user.

        Raises:
            RelatedNotFound: There is none.
        """
        return _person(await self._get("user", user))

    async def _get(self, entity: str, which: UUID | str) -> Mapping[str, Any]:
        callee, path = _PATHS[entity]
        client = self._chassis.service(callee)
        try:
            answer = await client.get(path.format(which), tenant=self._tenant)
        except NotFound as exc:
            raise RelatedNotFound(entity=entity) from exc
        said: Mapping[str, Any] = answer.json()
        return said


def _person(said: Mapping[str, Any]) -> Person:
    parts = [said.get("first_name"), said.get("last_name")]
    name = said.get("name") or " ".join(str(part) for part in parts if part)
    email = said.get("email")
    return Person(str(name), str(email) if email else None)
