"""What this service asks of tenant-service: whose subdomain, whether open, whose invitation."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from mtenant_chassis import ServiceClient
from mtenant_errors import NotFound

CALLEE: Final = "tenant-service"

_KEPT: Final = 60.0
_MOST: Final = 10_000

TokenFor = Callable[[str | None], str]
"""Returns this service's own token for calls about a tenant, or about none."""


@dataclass(frozen=True)
class Invitation:
    """An invitation that may be accepted.

    Attributes:
        id: Its id.
        email: Who was invited.
        role: As what.
    """

    id: str
    email: str
    role: str


class Tenants:
    """Asks tenant-service, in this service's own name.

    Args:
        client: Of tenant-service.
        token_for: Makes this service's tokens.
        clock: Gives seconds that only go forward.
    """

    def __init__(
        self,
        client: ServiceClient,
        token_for: TokenFor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._token_for = token_for
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def by_subdomain(self, subdomain: str) -> str | None:
        """Return the id of the tenant with a subdomain; kept for a minute."""
        until, tenant = self._known.get(subdomain, (0.0, ""))
        if self._clock() < until:
            return tenant
        found = await self._get(f"/api/tenants/by-subdomain/{quote(subdomain, safe='')}", None)
        if found is None:
            return None
        self._known[subdomain] = self._clock() + _KEPT, str(found["id"])
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return str(found["id"])

    async def is_open(self, tenant: str) -> bool:
        """Tell whether anybody may register with a tenant."""
        found = await self._get("/api/tenants/registration", tenant)
        return found is not None and found["open_registration"] is True

    async def invitation(self, tenant: str, token: str) -> Invitation | None:
        """Return the invitation of a token, or None if it is good for nothing."""
        try:
            answer = await self._client.post(
                "/api/invitations/check", json={"token": token}, token=self._token_for(tenant)
            )
        except NotFound:
            return None
        found = answer.json()
        return Invitation(str(found["id"]), str(found["email"]), str(found["role"]))

    async def _get(self, path: str, tenant: str | None) -> dict[str, Any] | None:
        try:
            answer = await self._client.get(path, token=self._token_for(tenant))
        except NotFound:
            return None
        found: dict[str, Any] = answer.json()
        return found
