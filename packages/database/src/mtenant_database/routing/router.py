"""ReadWriteRouter: writes to the primary, reads to a replica that is recent enough."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Final, Self

from mtenant_database.database import Database
from mtenant_database.engine import Engine
from mtenant_database.position import parse_position, position_text
from mtenant_database.routing.course import Course
from mtenant_database.routing.handle import RoutedHandle, RoutedTenant
from mtenant_database.routing.health import ReplicaStatus, RouterStatus
from mtenant_database.routing.marks import Marks
from mtenant_database.routing.replica import Replica
from mtenant_database.routing.sight import Sight, look_at
from mtenant_database.scope import Target
from mtenant_errors import AppError

_PATIENCE: Final = 2.0  # seconds for a look; a server that is slower is as good as away
_BETWEEN_DRAINS: Final = 5.0  # seconds

_logger = logging.getLogger(__name__)


class ReadWriteRouter:
    """One primary and its replicas: `async with ReadWriteRouter(primary, replicas) as router`.

    It opens and closes them. `router.tenant("acme")` is the handle for work; `router.primary` is for what
    must not come from a replica, and for work without a tenant.

    A read goes to the replica with the least load, of those that stream from this primary, have what the
    tenant wrote through this router, lag less than `max_lag`, and answer. With none it goes to the
    primary. While the primary is away, replicas go on answering.

    For a failover let the primary's URL name every server and say
    `target_session_attrs=read-write`: new connections find whoever takes writes. A connection that
    turns out to lead to a replica is closed. Replicas that do not follow the new primary are left
    out; grant the program's role `pg_read_all_stats`, else it is known only at their next
    restart point that they do follow (up to `checkpoint_timeout` later).

    Args:
        primary: Where writes go. Not yet connected.
        replicas: Where reads may go; none are allowed too.
        max_lag: How far a replica may be behind, in seconds.
        interval: How often each server is looked at, in seconds.

    Raises:
        ValueError: The times do not fit, or a database is given twice or to another router too.
    """

    def __init__(
        self,
        primary: Database,
        replicas: Sequence[Database],
        *,
        max_lag: float = 10.0,
        interval: float = 0.25,
    ) -> None:
        if not 0 < 2 * interval < max_lag:
            raise ValueError(
                f"max_lag is {max_lag} and interval {interval}: lag is seen to within two intervals,"
                " so max_lag has to be more"
            )
        members = [primary, *replicas]
        if any(db._engine.standby or db._engine.committed for db in members):
            raise ValueError("one of the databases is part of another router")
        if len({id(member) for member in members}) < len(members):
            raise ValueError("a database is given twice")
        self.primary = primary
        self.max_lag = max_lag
        self.interval = interval
        self._replicas = tuple(Replica(database) for database in replicas)
        self._course = Course(max_lag + 2 * interval)
        self._marks = Marks()
        self._turn = 0
        self._drained = -math.inf
        self._trouble = ""
        self._watching: list[asyncio.Task[None]] = []
        primary._engine.committed = self._marks.note
        for database in replicas:
            database._engine.standby = True
            # What turned out to write on one of them does so on each.
            database._engine.writers = primary._engine.writers

    @property
    def replicas(self) -> tuple[Database, ...]:
        """The replicas' databases."""
        return tuple(replica.database for replica in self._replicas)

    async def connect(self) -> None:
        """Open the primary, and begin to open the replicas, which nobody waits for.

        Raises:
            DatabaseUnavailable: The primary did not accept a connection.
        """
        await self.primary.connect()
        looks: list[Callable[[], Awaitable[None]]] = [self._look_at_primary]
        looks += [_of(self._look_at_replica, replica) for replica in self._replicas]
        self._watching = [asyncio.create_task(self._watch(look)) for look in looks]

    async def close(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - as Database has it
        """Close all, each as `Database.close` does."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._watching = []
        databases = [self.primary, *self.replicas]
        await asyncio.gather(*(database.close(timeout) for database in databases))

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

    def tenant(
        self, tenant: str, *, timeout: float | None = None, after: str | None = None
    ) -> RoutedTenant:
        """Return the handle of a tenant; nothing is asked of a server yet.

        Args:
            tenant: Its id.
            timeout: As for `Database.tenant`.
            after: A token that its reads must not be behind; see `RoutedHandle.token`.

        Raises:
            InvalidTenantId: The id does not match `[a-z0-9][a-z0-9_]{0,55}`.
            InvalidPosition: `after` is no token.
        """
        handle = self.primary.tenant(tenant, timeout=timeout)
        seconds = handle._timeout
        target = Target.of_tenant(tenant)
        return RoutedTenant(self, self.primary._engine, target, seconds, _position(after))

    def shared(self, *, after: str | None = None) -> RoutedHandle:
        """Return the handle of the schemas `shared` and `eventing`; `after` as for `tenant`."""
        seconds = self.primary._timeout
        return RoutedHandle(self, self.primary._engine, Target.shared(), seconds, _position(after))

    async def health_check(self) -> RouterStatus:
        """Return the state of each server; in 5 s at most."""
        databases = [self.primary, *self.replicas]
        primary, *others = await asyncio.gather(*(each.health_check() for each in databases))
        statuses = []
        for replica, health in zip(self._replicas, others, strict=True):
            sight = replica.sight
            lag = self._course.lag(sight.position) if sight else math.inf
            reason = replica.trouble(self._course, self.max_lag)
            statuses.append(
                ReplicaStatus(
                    name=replica.name,
                    usable=not reason,
                    reason=reason,
                    lag=lag if lag < math.inf else None,
                    position=position_text(sight.position) if sight else None,
                    health=health,
                )
            )
        return RouterStatus(primary, tuple(statuses))

    def engine_for(self, tenant: str | None, after: int) -> Engine | None:
        """Return the engine of the replica that a read of the tenant goes to; None: the primary's."""
        mark = self._marks.of(tenant)
        if mark is None:
            return None
        needed = max(mark, after)
        fit = [r for r in self._replicas if r.serves(needed, self._course, self.max_lag)]
        if not fit:
            return None
        # Where the load is equal each has its turn; `min` takes the first.
        self._turn = (self._turn + 1) % len(fit)
        chosen = min(fit[self._turn :] + fit[: self._turn], key=lambda replica: replica.load)
        return chosen.database._engine

    async def token_of(self, tenant: str | None, after: int) -> str | None:
        """Return what `RoutedHandle.token` does."""
        mark = self._marks.of(tenant)
        if mark is None:
            mark = (await self._see_primary()).written
        position = max(mark, after)
        return position_text(position) if position else None

    async def _watch(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await look()
            await asyncio.sleep(self.interval)

    async def _look_at_primary(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                sight = await self._see_primary()
        except (AppError, TimeoutError) as exc:
            self._tell(f"the primary cannot be looked at: {_told(exc)}")
            return
        self._tell("")
        if sight.standby:
            await self._drain(self.primary, "the primary's connections lead to a replica")

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:  # else it is no news
            _logger.warning("%s", trouble)
        self._trouble = trouble

    async def _see_primary(self) -> Sight:
        unknown = self._marks.unknown
        sight = await look_at(self.primary)
        if not sight.standby:
            self._course.add(sight)
            self._marks.bound(unknown, sight.written)
        return sight

    async def _look_at_replica(self, replica: Replica) -> None:
        try:
            if replica.database.pool.closed:
                await replica.database.connect()
            async with asyncio.timeout(_PATIENCE):
                sight = await look_at(replica.database)
        except (AppError, TimeoutError) as exc:
            replica.lost(_told(exc))
            return
        if self._course.latest is not None:  # else there is nothing to say yet
            replica.seen(sight, self._course, self.max_lag)

    async def _drain(self, database: Database, why: str) -> None:
        # Again and again as long as it lasts, since a proxy in between may learn of it late.
        if monotonic() - self._drained < _BETWEEN_DRAINS:
            return
        self._drained = monotonic()
        _logger.warning("%s: they are closed, and made again", why)
        await database.pool.drain()


def _of(
    look: Callable[[Replica], Awaitable[None]], replica: Replica
) -> Callable[[], Awaitable[None]]:
    return lambda: look(replica)


def _told(exc: Exception) -> str:
    if isinstance(exc, AppError):
        return exc.internal or exc.message
    return f"no answer within {_PATIENCE:g} s"


def _position(token: str | None) -> int:
    return 0 if token is None else parse_position(token)
