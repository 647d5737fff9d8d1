"""Admission: who may borrow a connection next, so that no tenant takes all of them from the others.

There are as many places as the pool has connections, and each loan takes one. While a place is free
nobody waits, and a tenant may have as many as it likes. When one is given back, the tenants that wait take
turns; one that has its cap already is passed over for one that has not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from mtenant_database.errors import PoolExhausted, TenantThrottled

if TYPE_CHECKING:
    from mtenant_database.metrics import Metrics

_RETRY_AFTER: Final = 1  # seconds; by then a place has come free, or the load is not of a moment


@dataclass(eq=False, slots=True)
class Place:
    """A place that was taken; to be given to `leave`.

    Attributes:
        tenant: Whose it is; None for work without a tenant.
        task: The task that took it, and takes no second one.
        loans: How many loans it is for.
    """

    tenant: str | None
    task: asyncio.Task[Any] | None
    loans: int = 1


class Admission:
    """Gives out the places of one pool. It keeps nothing of a tenant that has none and waits for none.

    Args:
        places: How many there are.
        cap: How many a tenant may have while another one waits; None: half of them.
        queue: How many requests of one tenant may wait; more are refused at once.
        metrics: Is told of waits.
    """

    def __init__(
        self,
        places: int,
        *,
        cap: int | None = None,
        queue: int = 5000,
        metrics: Metrics | None = None,
    ) -> None:
        if places < 1 or queue < 1 or (cap is not None and cap < 1):
            raise ValueError(f"places {places}, cap {cap} and queue {queue} are at least 1 each")
        self.places = places
        self.cap = max(1, places // 2) if cap is None else cap
        self.queue = queue
        self._metrics = metrics
        self._used: dict[str | None, int] = {}
        self._taken = 0
        # Tenants that wait, the next one first; of each its requests, the oldest first.
        self._waiting: OrderedDict[str | None, dict[asyncio.Future[None], None]] = OrderedDict()
        self._of_task: dict[asyncio.Task[Any], Place] = {}

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def tenants(self) -> int:
        """Of how many tenants something is kept."""
        return len(self._used.keys() | self._waiting.keys())

    def enter_now(self, tenant: str | None) -> Place | None:
        """Take a place if one is free and nobody waits for it; None otherwise.

        A task that has one (its stream or COPY is open) takes no second: it would wait for itself.
        """
        task = asyncio.current_task()
        held = self._of_task.get(task) if task is not None else None
        if held is not None:
            held.loans += 1
            return held
        if self._taken >= self.places or self._waiting:
            return None
        return self._take(tenant, task)

    async def enter(self, tenant: str | None, seconds: float) -> Place:
        """Take a place when it is this tenant's turn.

        Args:
            tenant: Whose it is; None for work without a tenant, which has no cap.
            seconds: How long to wait.

        Raises:
            TenantThrottled: There was none in time, or too many wait, and the tenant has its cap while
                there are others.
            PoolExhausted: Likewise, but it has less than its cap, or all there is.
        """
        queue = self._waiting.setdefault(tenant, {})
        if len(queue) >= self.queue:
            raise self._refusal(tenant, f"{len(queue)} of its requests wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[turn] = None
        begun = monotonic()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as exc:
            if not turn.cancelled() and turn.done():
                self._give_back(tenant)  # it came together with the end of the wait
            self._forget(tenant, turn)
            if isinstance(exc, TimeoutError):
                raise self._refusal(
                    tenant, f"none of {self.places} came free in {seconds:g} s"
                ) from None
            raise
        finally:
            if self._metrics is not None and tenant is not None:
                self._metrics.record_wait(monotonic() - begun, tenant=tenant)
        return self._bind(Place(tenant, asyncio.current_task()))

    def leave(self, place: Place) -> None:
        """Give a place back; whoever's turn it is gets it."""
        place.loans -= 1
        if place.loans:
            return
        if place.task is not None and self._of_task.get(place.task) is place:
            del self._of_task[place.task]
        self._give_back(place.tenant)

    def _take(self, tenant: str | None, task: asyncio.Task[Any] | None) -> Place:
        self._taken += 1
        self._used[tenant] = self._used.get(tenant, 0) + 1
        return self._bind(Place(tenant, task))

    def _bind(self, place: Place) -> Place:
        if place.task is not None:
            self._of_task[place.task] = place
        return place

    def _give_back(self, tenant: str | None) -> None:
        self._taken -= 1
        left = self._used[tenant] - 1
        if left:
            self._used[tenant] = left
        else:
            del self._used[tenant]
        while self._waiting and self._taken < self.places:
            self._serve(self._next())

    def _next(self) -> str | None:
        """Return whose turn it is: the first that has less than its cap; else the first of all."""
        for tenant in self._waiting:
            if tenant is None or self._used.get(tenant, 0) < self.cap:
                return tenant
        return next(iter(self._waiting))

    def _serve(self, tenant: str | None) -> None:
        queue = self._waiting[tenant]
        turn = next(iter(queue))
        self._forget(tenant, turn)
        if tenant in self._waiting:
            self._waiting.move_to_end(tenant)
        if not turn.done():
            self._taken += 1
            self._used[tenant] = self._used.get(tenant, 0) + 1
            turn.set_result(None)

    def _forget(self, tenant: str | None, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(tenant)
        if queue is None:
            return
        queue.pop(turn, None)
        if not queue:
            del self._waiting[tenant]

    def _refusal(self, tenant: str | None, problem: str) -> Exception:
        if not self._waiting.get(tenant):
            self._waiting.pop(tenant, None)
        used = self._used.get(tenant, 0)
        alone = used == self._taken and not self._waiting.keys() - {tenant}
        if tenant is not None and used >= self.cap and not alone:
            return TenantThrottled(
                internal=f"tenant {tenant} has {used} connections, its cap is {self.cap}; {problem}",
                retry_after=_RETRY_AFTER,
            )
        return PoolExhausted(
            internal=f"{self._taken} of {self.places} connections are out; {problem}",
            retry_after=_RETRY_AFTER,
        )
