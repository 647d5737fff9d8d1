"""Registration: from a request to an organization whose owner can log in, whatever happens between.

The name is taken and the row of the registration written in one transaction. Each step after that can be
done again: the schema is resumed where it stopped, the organization is added once, the owner's account has
an id that was chosen before, and the last transaction counts once. A process that dies in the middle leaves
a row whose lease runs out, and a worker takes it over. What cannot be finished is removed in the same way.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

from pydantic import SecretStr

from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.idempotency import IdempotencyKeyReused
from mtenant_database.migrate import TenantExists, UnknownTenant, drop, provision
from mtenant_errors import AppError
from mtenant_logger import current_request_id, get_logger
from tenant_service.domain.errors import (
    RegistrationLost,
    RegistrationNotFound,
    RegistrationRunning,
    SubdomainReserved,
    SubdomainTaken,
)
from tenant_service.domain.event import TenantCreated
from tenant_service.domain.plan import FIRST
from tenant_service.domain.registration import (
    ATTEMPT,
    LEASE,
    PATIENCE,
    Application,
    Registration,
    RegistrationState,
)
from tenant_service.domain.subdomain import is_reserved
from tenant_service.handlers.accounts import Accounts, is_refused
from tenant_service.queries import organization as organizations
from tenant_service.queries import registration as registrations
from tenant_service.queries import settings as rows
from tenant_service.settings import TenantServiceSettings

log = get_logger(__name__)


class Registrar:
    """Makes tenants, and removes what became none.

    Args:
        chassis: Of the running app.
        own: Says as whom schemas are made.
    """

    def __init__(self, chassis: Chassis, own: TenantServiceSettings) -> None:
        self._chassis = chassis
        self._shared = chassis.database.shared()
        self._migrate = chassis.settings.migrate
        self._own = own

    async def register(self, asked: Application) -> Registration:
        """Register an organization; one that could not be finished now is finished later.

        Returns:
            The registration: `done`, or `running` if something that it needs is away.

        Raises:
            SubdomainTaken, SubdomainReserved: The name is not to be had.
            RegistrationRunning: The same request is being worked on.
            IdempotencyKeyReused: The client's key belongs to another request.
            RegistrationLost: This process was so slow that another one has given up.
            AppError: auth-service refuses the owner's account; nothing is left.
        """
        if is_reserved(asked.subdomain):
            raise SubdomainReserved
        one = await self._reserve(asked)
        if one.state != "done":
            await self.attempt(one, asked.owner.password)
            one = await self.find(one.id)
        if one.state not in {"running", "done"}:
            raise RegistrationLost
        return one

    async def find(self, registration: UUID) -> Registration:
        """Return a registration.

        Raises:
            RegistrationNotFound: There is none.
        """
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            found = await registrations.find(tx, registration)
        if found is None:
            raise RegistrationNotFound
        return found

    async def is_free(self, subdomain: str) -> bool:
        """Tell whether nobody has a subdomain."""
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            return await registrations.is_free(tx, subdomain)

    async def take_over(self) -> bool:
        """Work on one registration that waits for somebody; tell whether there was one."""
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            one = await registrations.claim_due(tx)
        if one is None:
            return False
        with suppress(AppError):  # that auth-service refuses it, is for a client to hear
            await self.attempt(one, None)
        return True

    async def sweep(self) -> None:
        """Forget what nobody will ask for any more."""
        over = await self._over()
        while over:
            for registration, tenant, state in over:
                if state == "failed":
                    # A process that slept through its lease may have made the schema after the removal.
                    await self._drop(tenant)
                async with self._shared.transaction() as tx:
                    await registrations.admit(tx)
                    await registrations.forget(tx, registration)
            over = await self._over()

    async def _over(self) -> list[tuple[UUID, str, RegistrationState]]:
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            await registrations.forget_names(tx)
            return await registrations.over_long_ago(tx)

    async def _reserve(self, asked: Application) -> Registration:
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            key, tenant = asked.key_digest, uuid4().hex
            found = await registrations.find_by_key(tx, key) if key else None
            if found is None:
                if await registrations.take_name(tx, asked.subdomain, tenant):
                    return await registrations.add(tx, asked, tenant)
                # Sent twice at once, the other was faster.
                found = await registrations.find_by_key(tx, key) if key else None
            if found is None:
                raise SubdomainTaken
            if found.fingerprint != asked.fingerprint:
                raise IdempotencyKeyReused
            if found.state == "done":
                return found
            claimed = await registrations.claim(tx, found.id)
            if claimed is None:
                left = (found.lease_until - datetime.now(UTC)).total_seconds()
                raise RegistrationRunning(retry_after=max(1, math.ceil(left)))
            return claimed

    async def attempt(self, one: Registration, password: SecretStr | None) -> None:
        """Do what is left to do; what fails is noted for another attempt.

        Raises:
            AppError: auth-service refuses the owner's account; everything was removed.
        """
        try:
            async with asyncio.timeout(ATTEMPT):
                if one.state == "abandoning":
                    await self._remove(one)
                else:
                    await self._make(one, password)
        except RegistrationLost:
            await self._clean_up_after(one)
        except Exception as exc:
            code = exc.code if isinstance(exc, AppError) else type(exc).__name__
            log.warning("a registration failed", err=exc, registration=str(one.id), code=code)
            refused = isinstance(exc, AppError) and is_refused(exc)
            tired = one.lease_until - LEASE - one.created_at > PATIENCE
            await self._give_up(one, code) if refused or tired else await self._put_off(one, code)
            if isinstance(exc, AppError) and refused:
                raise exc.as_own() from exc

    async def _make(self, one: Registration, password: SecretStr | None) -> None:
        await self._provision(one)
        await self._organize(one)
        await self._create_owner(one, password)
        await self._finish(one)

    async def _provision(self, one: Registration) -> None:
        try:
            await provision(self._url(), one.tenant, settings=self._migrate)
        except TenantExists as exc:
            if exc.params.get("status") != "active":
                raise

    async def _organize(self, one: Registration) -> None:
        async with self._chassis.tenant(one.tenant).transaction() as tx:
            await registrations.admit(tx)
            if not await registrations.is_mine(tx, one, "running"):
                raise RegistrationLost
            await organizations.add(tx, one.tenant, one.name, one.subdomain, FIRST)

    async def _create_owner(self, one: Registration, password: SecretStr | None) -> None:
        if one.owner_email is None or one.owner_name is None:
            raise RegistrationLost  # it is over: somebody else has finished it
        made = await Accounts(self._chassis, one.tenant).create(
            one.owner_id,
            email=one.owner_email,
            name=one.owner_name,
            role="owner",
            password=password,
            verified=False,  # anybody may have typed it: auth-service asks
        )
        if not made:
            raise RuntimeError("somebody else has an account in a tenant that nobody knows")

    async def _finish(self, one: Registration) -> None:
        service = self._chassis.settings.service
        async with self._chassis.tenant(one.tenant).transaction() as tx:
            await registrations.admit(tx)
            if not await registrations.is_mine(tx, one, "running"):
                raise RegistrationLost
            moved = await organizations.move(tx, one.tenant, to="active", of="provisioning")
            if moved is None:
                raise RuntimeError("the organization is active, and its registration is not done")
            await rows.first_preferences(tx, str(one.owner_id))
            created = TenantCreated(one.name, one.subdomain, FIRST, str(one.owner_id))
            await self._chassis.outbox.add(tx, created, key=one.tenant)
            trail = AuditTrail(service, f"service:{service}", current_request_id())
            about = {"name": one.name, "subdomain": one.subdomain, "plan": FIRST}
            await trail.record(tx, "tenant.created", "organization", one.tenant, after=about)
            await registrations.finish(tx, one, "done")

    async def _put_off(self, one: Registration, code: str) -> None:
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            await registrations.later(tx, one, code)

    async def _give_up(self, one: Registration, code: str) -> None:
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            mine = await registrations.abandon(tx, one, code)
        if mine:
            await self._remove(one)

    async def _remove(self, one: Registration) -> None:
        await self._drop(one.tenant)
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            await registrations.release_name(tx, one.subdomain, one.tenant)
            await registrations.finish(tx, one, "failed")

    async def _clean_up_after(self, one: Registration) -> None:
        """Remove what this process made after another one had given up."""
        async with self._shared.transaction() as tx:
            await registrations.admit(tx)
            found = await registrations.find(tx, one.id)
        log.warning("a registration was taken over", registration=str(one.id))
        if found is None or found.state in {"abandoning", "failed"}:
            await self._drop(one.tenant)

    async def _drop(self, tenant: str) -> None:
        with suppress(UnknownTenant):
            await drop(self._url(), tenant, settings=self._migrate)

    def _url(self) -> str:
        return provisioning_url(self._chassis, self._own)


def provisioning_url(chassis: Chassis, own: TenantServiceSettings) -> str:
    """Return where schemas are made: the database, as a role that may."""
    if own.provision_url is not None:
        return own.provision_url.reveal()
    return chassis.settings.database.conninfo()
