"""Databases: several with names, and the tenants spread over them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from mtenant_database.database import Database
from mtenant_database.health import HealthStatus
from mtenant_database.routing.health import RouterStatus
from mtenant_database.routing.router import ReadWriteRouter
from mtenant_database.tenant import Tenant
from mtenant_database.tenant_id import check_tenant_id

Member: TypeAlias = Database | ReadWriteRouter


class TenantMap(Protocol):
    """Says which database a tenant lives in: a table, a rule, or a service."""

    async def database_of(self, tenant: str, /) -> str:
        """Return the database's name.

        It is asked for each handle, so that one which asks a server should remember answers for as long
        as a tenant that is moved stays closed.

        Raises:
            TenantNotFound: There is no such tenant.
        """
        ...


class Databases(Mapping[str, Member]):
    """Several databases, opened and closed together, each with its own pool, metrics and breaker.

    ```python
    async with Databases({"eu": Database(eu), "us": ReadWriteRouter(...)}, tenants=where) as databases:
        acme = await databases.tenant("acme")
        await databases["eu"].shared().fetch_all(...)
    ```

    Args:
        databases: The databases by name, not yet connected.
        tenants: Says which of them a tenant lives in.
    """

    def __init__(self, databases: Mapping[str, Member], *, tenants: TenantMap) -> None:
        if not databases:
            raise ValueError("no database: name one at least")
        self._databases = dict(databases)
        self._tenants = tenants
        self._opened = AsyncExitStack()

    def __getitem__(self, name: str) -> Member:
        return self._databases[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._databases)

    def __len__(self) -> int:
        return len(self._databases)

    async def tenant(
        self,
        tenant: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the server keeps it
    ) -> Tenant:
        """Return the handle of a tenant, from the database that it lives in.

        Args:
            tenant: Its id.
            timeout: As for `Database.tenant`.

        Raises:
            InvalidTenantId: The id does not match `[a-z0-9][a-z0-9_]{0,55}`.
            TenantNotFound: The map says so.
            LookupError: The map names a database that is not here.
        """
        name = await self._tenants.database_of(check_tenant_id(tenant))
        if name not in self._databases:
            known = ", ".join(sorted(self._databases))
            raise LookupError(f"tenant {tenant} is in database {name!r}, which is none of: {known}")
        return self._databases[name].tenant(tenant, timeout=timeout)

    async def connect(self) -> None:
        """Open all; if one of them cannot be opened, none is.

        Raises:
            DatabaseUnavailable: One did not accept a connection.
        """
        async with AsyncExitStack() as opened:
            for database in self._databases.values():
                await opened.enter_async_context(database)
            self._opened = opened.pop_all()

    async def close(self) -> None:
        """Close all, the last one first."""
        await self._opened.aclose()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def health_check(self) -> dict[str, HealthStatus | RouterStatus]:
        """Return the state of each; in 5 s at most."""
        names = list(self._databases)
        checks = await asyncio.gather(*(_check(self._databases[name]) for name in names))
        return dict(zip(names, checks, strict=True))


async def _check(database: Member) -> HealthStatus | RouterStatus:
    return await database.health_check()
