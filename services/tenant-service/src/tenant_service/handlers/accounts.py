"""Accounts of users are auth-service's: this asks it for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from mtenant_chassis import Chassis
from mtenant_errors import AppError, Conflict, codes

_HASHING: Final = 10.0
"""Seconds: a password is hashed, on purpose slowly, and others may wait before it."""


def is_refused(exc: AppError) -> bool:
    """Tell whether auth-service refuses what the client said, so that trying again is no use."""
    return exc.remote and (exc.status_code == 422 or exc.code == codes.VALIDATION_FAILED)


class Accounts:
    """The accounts of one tenant.

    Args:
        chassis: With a client of auth-service.
        tenant: The tenant's id.
    """

    def __init__(self, chassis: Chassis, tenant: str) -> None:
        self._auth = chassis.service("auth-service")
        self._tenant = tenant

    async def create(
        self,
        user: UUID,
        *,
        email: str,
        name: str,
        role: str,
        password: SecretStr | None,
        verified: bool,
    ) -> bool:
        """Make an account, or find that it was made before.

        Args:
            user: Its id, chosen by this service.
            email: Its address.
            name: Of the person.
            role: In the tenant.
            password: None: auth-service asks for one by mail.
            verified: Whether the person has shown to read what is sent to the address.

        Returns:
            False if another account has the address.
        """
        about = {"email": email, "name": name, "role": role}
        body: dict[str, object] = {**about, "email_verified": verified}
        if password is not None:
            body["password"] = password.get_secret_value()
        try:
            await self._auth.request(
                "PUT", f"/api/auth/users/{user}", json=body, tenant=self._tenant, timeout=_HASHING
            )
        except Conflict as exc:
            if exc.code == "EMAIL_TAKEN":
                return False
            raise
        return True

    async def page(self, params: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of them, as auth-service lists them."""
        answer = await self._auth.get("/api/auth/users", params=params, tenant=self._tenant)
        page: dict[str, Any] = answer.json()
        return page

    async def with_address(self, email: str) -> dict[str, Any] | None:
        """Return the account of an address."""
        items = (await self.page({"email": email, "limit": "1"}))["items"]
        return items[0] if items else None

    async def give_role(self, user: str, role: str) -> None:
        """Give an account another role."""
        await self._auth.request(
            "PUT", f"/api/auth/users/{user}/role", json={"role": role}, tenant=self._tenant
        )
