"""Chassis: what a running service has: settings, database, cache, clients, mailer, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2 as httpx
from redis.asyncio import Redis

from mtenant_chassis.cache import Cache, RedisStore
from mtenant_chassis.client import ClientCredentials, ServiceClient
from mtenant_chassis.events import Events, EventsOf, Outbox
from mtenant_chassis.health import HealthChecks
from mtenant_chassis.mail.mailer import Mailer
from mtenant_chassis.mail.transport import Transport, transport_of
from mtenant_chassis.mail.worker import MailOutcome, MailWorker
from mtenant_chassis.metrics import RequestMetrics
from mtenant_chassis.migrate import deploy
from mtenant_chassis.ratelimit import RateLimiter
from mtenant_chassis.settings import Settings
from mtenant_chassis.tally import Tally
from mtenant_database import Database, HealthStatus, Tenant, Transaction
from mtenant_logger import get_logger, log_context

_REDIS_TIMEOUT: Final = 0.5

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a service adds to the chassis, or a test puts in the place of something.

    Attributes:
        migrations: The service's folder of migrations, run on start if `DB_AUTO_MIGRATE` is on.
        needs: The version of each component that the service is written for, as `{"contact": 7}`.
        events: Opens what carries events; None: the service has none.
        startup: Opens what else the service needs, last of all; closed first.
        mail: Where mails go, instead of what the settings say.
        mailed: Told of each mail that was sent or given up.
        transport: Where calls to other services go, instead of the network.
    """

    migrations: Path | None = None
    needs: dict[str, int] | None = None
    events: EventsOf | None = None
    startup: Callable[[Chassis], AbstractAsyncContextManager[object]] | None = None
    mail: Transport | None = None
    mailed: Callable[[Chassis, Transaction, MailOutcome], Awaitable[None]] | None = None
    transport: httpx.AsyncBaseTransport | None = None


@dataclass
class _Open:
    """What is there while the app runs."""

    database: Database
    cache: Cache
    limits: RateLimiter
    events: Events | None = None
    clients: dict[str, ServiceClient] = field(default_factory=dict)


class Chassis:
    """The parts of one app; `request.app.state.chassis`, or a parameter `chassis: CurrentChassis`.

    Opened by the app's lifespan: database, migrations if asked for, events, cache, clients, mail
    worker, consumers, what the service adds; then it is ready. Closed in the opposite order. It may
    be opened again.

    Attributes:
        settings: What it was made from.
        metrics: The app's numbers.
        health: What is checked, and how far the app is.
        mailer: Adds mails to transactions.
    """

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.settings = settings
        self.metrics = RequestMetrics()
        self.health = HealthChecks(self._check_database)
        self._parts = parts
        self._open: _Open | None = None
        self._closing: AsyncExitStack | None = None
        self._worker: MailWorker | None = None
        domain = settings.mail.sender.rpartition("@")[2]
        self.mailer = Mailer(settings.service, domain=domain, wake=self._wake)
        self.metrics.expose("the database", self._database_numbers)
        self.metrics.expose("the cache", lambda: self._open.cache.numbers() if self._open else {})
        self._tally = Tally(self._count_events)
        self.metrics.expose("the events", lambda: self._tally.numbers)

    @property
    def database(self) -> Database:
        """The database; of no tenant."""
        return self._running.database

    @property
    def cache(self) -> Cache:
        """The cache."""
        return self._running.cache

    @property
    def limits(self) -> RateLimiter:
        """Counts callers against rate limits."""
        return self._running.limits

    @property
    def outbox(self) -> Outbox:
        """Adds events to transactions.

        Raises:
            RuntimeError: The app was made without events.
        """
        events = self._running.events
        if events is None:
            raise RuntimeError("the app was made without events: create_app(..., events=...)")
        return events.outbox

    async def forget_events(self, tenant: str) -> None:
        """Delete what was published of a tenant that is no more; without events nothing happens.

        Raises:
            AppError: It cannot be done now.
        """
        if self._running.events is not None:
            await self._running.events.forget(tenant)

    def tenant(self, tenant: str) -> Tenant:
        """Return the handle of a tenant, for code that found out which one it works for.

        Raises:
            InvalidTenantId: The text is no tenant id.
        """
        return self._running.database.tenant(tenant)

    def service(self, name: str) -> ServiceClient:
        """Return the client of another service.

        Raises:
            KeyError: The settings have no URL for it: name it in `calls=`.
        """
        return self._running.clients[name]

    async def count(self) -> None:
        """Bring those of `metrics` up to date that have to be asked for."""
        if self._open is not None:
            await self._tally.refresh()

    def drain(self) -> None:
        """Say by `/ready` that no more requests should come; those that come are still answered."""
        if self.health.phase == "ready":
            self.health.phase = "draining"

    @property
    def _running(self) -> _Open:
        if self._open is None:
            raise RuntimeError("the app is not running: its lifespan opens database and cache")
        return self._open

    async def __aenter__(self) -> Self:
        with log_context(service=self.settings.service):  # of tasks that begin here, too
            async with AsyncExitStack() as stack:
                await self._start(stack)
                self._closing = stack.pop_all()
            self.health.phase = "ready"
            log.info("ready", version=self.settings.version)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.health.phase = "draining"
        closing, self._closing = self._closing, None
        if closing is not None:
            with log_context(service=self.settings.service):
                await closing.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        settings, parts = self.settings, self._parts
        self.health.phase = "starting"
        self.health.probes.clear()
        needs = parts.needs
        database = await stack.enter_async_context(Database(settings.database, needs=needs))
        if settings.database.auto_migrate and parts.migrations is not None:
            for report in await deploy(settings, parts.migrations):
                if report.exit_code:
                    # Tenants that are behind are refused (`needs`); the others are served.
                    log.error("migrations failed", report=report.to_table())
        redis = self._redis(stack)
        cache = Cache(RedisStore(redis) if redis else None, service=settings.service)
        limits = RateLimiter(redis, service=settings.service)
        self._open = _Open(database, cache, limits)
        stack.callback(self._forget)
        if redis is not None:
            self.health.probes["cache"] = cache.healthy
        if parts.events is not None:
            self._open.events = events = await stack.enter_async_context(parts.events(self))
            self.health.probes["events"] = events.healthy
            stack.push_async_callback(self._tally.close)
        await self._open_clients(stack, self._open)
        await self._open_mail(stack, database)
        if self._open.events is not None:
            stack.push_async_callback(self._open.events.stop_consuming)
            await self._open.events.consume()
        if parts.startup is not None:
            await stack.enter_async_context(parts.startup(self))

    def _forget(self) -> None:
        self._open = self._worker = None

    def _redis(self, stack: AsyncExitStack) -> Redis | None:
        if self.settings.redis_url is None:
            return None
        client: Redis = Redis.from_url(
            self.settings.redis_url.reveal(),
            socket_timeout=_REDIS_TIMEOUT,
            socket_connect_timeout=_REDIS_TIMEOUT,
        )
        stack.push_async_callback(client.aclose)
        return client

    async def _open_clients(self, stack: AsyncExitStack, opened: _Open) -> None:
        settings, transport = self.settings, self._parts.transport
        tokens = None
        secret, auth = settings.auth.client_secret, settings.services.get("auth-service")
        if secret is not None and auth is not None:
            plain = ServiceClient("auth-service", auth, transport=transport)
            await stack.enter_async_context(plain)
            tokens = ClientCredentials(plain, settings.service, secret.reveal())
        for name, url in settings.services.items():
            client = ServiceClient(name, url, tokens=tokens, transport=transport)
            opened.clients[name] = await stack.enter_async_context(client)

    async def _open_mail(self, stack: AsyncExitStack, database: Database) -> None:
        transport = self._parts.mail or transport_of(self.settings.mail)
        if transport is None:
            return
        worker = MailWorker(
            database,
            service=self.settings.service,
            transport=transport,
            sender=self.settings.mail.sender,
            mailed=self._mailed if self._parts.mailed else None,
        )
        self._worker = await stack.enter_async_context(worker)

    async def _mailed(self, tx: Transaction, outcome: MailOutcome) -> None:
        if self._parts.mailed is not None:
            await self._parts.mailed(self, tx, outcome)

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    async def _check_database(self) -> HealthStatus:
        return await self._running.database.health_check()

    async def _count_events(self) -> dict[str, int | float]:
        events = self._running.events
        return {} if events is None else await events.numbers()

    def _database_numbers(self) -> dict[str, int | float]:
        return self._open.database.metrics.snapshot().to_dict() if self._open else {}


def chassis_of(app: Any) -> Chassis:
    """Return the chassis of an app that `create_app` made."""
    chassis: Chassis = app.state.chassis
    return chassis
