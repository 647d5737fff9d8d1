"""Database: a pool with its lifetime, and where handles come from."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from psycopg import AsyncConnection

from mtenant_database import health
from mtenant_database.admission import Admission
from mtenant_database.breaker import Breaker
from mtenant_database.config import DatabaseConfig
from mtenant_database.engine import Engine
from mtenant_database.health import HealthStatus
from mtenant_database.metrics import Metrics
from mtenant_database.pool import Pool
from mtenant_database.scope import Target
from mtenant_database.sqlstate import translate
from mtenant_database.telemetry import Telemetry
from mtenant_database.tenant import Handle, Tenant

_BASE_PATH: Final = "pg_catalog,pg_temp"

_logger = logging.getLogger("mtenant_database")


class Database(Handle):
    """One database: `async with Database.from_env() as db`.

    `db.tenant("acme")` is the handle for work; statements of `db` itself are without a tenant, and
    its connections start with `search_path = pg_catalog, pg_temp`, so that a table without its
    schema's name is not found there.

    Args:
        config: Where it is, and how it is used.
        tenant_role: Whether a scope takes the role `tenant_<id>` too. Another tenant's table is then an
            error (42501) even with its schema written before its name. Each role is granted to the
            role that connects.
        needs: The version of each component that the program is written for, as `{"contact": 7}`. A statement
            that fails for a missing name is then `TenantNotReady` if the tenant is below it, and the
            program's own fault otherwise. Without it, a tenant is expected to be at the newest.
        tracing: Whether statements make OpenTelemetry spans.
        tenant_labels: Whether OpenTelemetry's metrics have a label for the tenant.
        tenant_metrics: How many tenants `metrics` tells apart, as for `Metrics`; 0: none.
        leak_threshold: After how many seconds a connection that is still out is logged as a leak, with
            the stack of who borrowed it; None: never.
        tenant_connections: How many connections a tenant may hold while another one waits; None: half of
            them. While nobody waits it may have all.
    """

    __slots__ = ("admission", "breaker", "config", "metrics", "pool")

    def __init__(
        self,
        config: DatabaseConfig,
        *,
        tenant_role: bool = False,
        needs: Mapping[str, int] | None = None,
        tracing: bool = True,
        tenant_labels: bool = False,
        tenant_metrics: int = 0,
        leak_threshold: float | None = None,
        tenant_connections: int | None = None,
    ) -> None:
        self.config = config
        self.metrics = Metrics(tenants=tenant_metrics)
        telemetry = Telemetry(self.metrics, config, tracing=tracing, tenant_labels=tenant_labels)
        seconds = config.query_timeout.total_seconds()
        direct = config.pooler != "transaction"
        self.pool: Pool[AsyncConnection[Any]] = Pool(
            config.conninfo(),
            kwargs=_session(config, seconds) if direct else {"autocommit": True},
            min_size=config.max_idle_conns,
            max_size=config.max_open_conns,
            open=False,
            configure=self._configure,
            timeout=config.connect_timeout.total_seconds(),
            max_lifetime=config.conn_max_lifetime.total_seconds(),
            max_idle=config.conn_max_idle_time.total_seconds(),
            max_retries=config.max_retries,
            retry_interval=config.retry_interval.total_seconds(),
            leak_threshold=leak_threshold,
            telemetry=telemetry,
        )
        self.admission = Admission(
            config.max_open_conns, cap=tenant_connections, metrics=self.metrics
        )
        self.breaker = Breaker(self.metrics.record_breaker_opened)
        engine = Engine(
            self.pool,
            telemetry,
            self.admission,
            self.breaker,
            named=direct,
            role=tenant_role,
            resolve_within=config.connect_timeout.total_seconds(),
            needs=needs,
        )
        super().__init__(engine, None, seconds)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] = os.environ, *, prefix: str | None = None, **options: Any
    ) -> Self:
        """Return a database as the environment describes it: `DATABASE_URL` or `DB_*`.

        Args:
            environ: Variables and their values.
            prefix: As for `DatabaseConfig.from_env`, for a second database.
            **options: As for the class.

        Raises:
            ConfigError: With everything that is wrong.
        """
        return cls(DatabaseConfig.from_env(environ, prefix=prefix), **options)

    async def connect(self) -> None:
        """Open the pool; return once the server has accepted a connection.

        Raises:
            DatabaseUnavailable: It did not in `max_retries` more attempts.
        """
        try:
            await self.pool.open()
        except Exception as exc:
            raise translate(exc) from exc

    async def close(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - for the waiting part
        """Lend no more connections, wait for those that are out, and close all.

        Args:
            timeout: How long to wait, in seconds. What is out then is closed when it comes back.
        """
        left = await self._engine.idle(timeout)
        if left:
            _logger.warning("closing with %d connections still in use after %g s", left, timeout)
        await self.pool.close()

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

    def tenant(self, tenant: str, *, timeout: float | None = None) -> Tenant:
        """Return the handle of a tenant; nothing is asked of the server yet.

        Args:
            tenant: Its id.
            timeout: `statement_timeout` in seconds, instead of the configuration's.

        Raises:
            InvalidTenantId: The id does not match `[a-z0-9][a-z0-9_]{0,55}`.
            ValueError: `timeout` is not more than 0.
        """
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}: write seconds, more than 0")
        limit = self._timeout if timeout is None else timeout
        return Tenant(self._engine, Target.of_tenant(tenant), limit)

    def shared(self) -> Handle:
        """Return the handle of the schemas `shared` and `eventing`, which belong to no tenant."""
        return Handle(self._engine, Target.shared(), self._timeout)

    @asynccontextmanager
    async def connection(self, *, dedicated: bool = False) -> AsyncIterator[AsyncConnection[Any]]:
        """Borrow psycopg's connection itself, in autocommit; its errors are psycopg's.

        Args:
            dedicated: Whether the session may be changed (LISTEN, SET, temporary tables, session locks). The
                connection is closed afterwards, so that nobody gets it with its changes.
        """
        async with self._engine.connection() as conn:
            try:
                yield conn
            finally:
                if dedicated:
                    await conn.close()

    async def health_check(self) -> HealthStatus:
        """Return whether the database answers, how fast, and the pool's statistics; in 5 s at most."""
        status = await health.health_check(self.pool, metrics=self.metrics)
        if status.healthy:
            self.breaker.succeeded()
        return replace(status, breaker=self.breaker.state)

    async def is_healthy(self) -> bool:
        """Tell whether the database answers."""
        return (await self.health_check()).healthy

    async def _configure(self, conn: AsyncConnection[Any]) -> None:
        await self._engine.configure(conn)


def _session(config: DatabaseConfig, seconds: float) -> dict[str, Any]:
    """Return what a connection starts with; a transaction pooler would refuse it."""
    own = f"-c search_path={_BASE_PATH} -c statement_timeout={round(seconds * 1000)}"
    asked = config.parameters().get("options")
    # Ours come last and win: what is without a tenant must find nothing.
    return {"autocommit": True, "options": f"{asked} {own}" if asked else own}
