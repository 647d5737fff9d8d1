"""Cache and TenantCache: what a service calls."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from mtenant_chassis.cache.memory import MemoryStore
from mtenant_chassis.cache.store import Store, StoreUnavailable
from mtenant_database.tenant_id import check_tenant_id

TOMBSTONE: Final = 900.0
"""Seconds for which a tombstone stays: far longer than a request may take."""

PAUSE: Final = 1.0
"""Seconds for which a store that failed is left alone."""

OWN: Final = 30.0
"""Seconds for which this process alone keeps a value: nobody tells it what others change."""

RECHECK: Final = 30.0
"""Seconds for which entries of a tenant's rows are believed after the database last let the tenant in."""

_MOST_OWED: Final = 10_000
_MOST_ANSWERED: Final = 10_000

_logger = logging.getLogger("mtenant_chassis.cache")


@dataclass(frozen=True)
class Cached:
    """What was loaded, and which version it is.

    Attributes:
        version: Grows with every change: the `version` column of the row.
        value: A JSON value.
    """

    version: int
    value: Any


class Cache:
    """Entries of all tenants, in a shared store or in this process.

    While the shared store is away, the process's own serves; invalidations that the shared one missed
    are told to it before it is asked again, so that it cannot serve what was changed meanwhile.

    Args:
        shared: The store that processes share; None for none.
        service: Put before every key: services may share a server.
        clock: Gives seconds that only go forward.
    """

    def __init__(
        self,
        shared: Store | None = None,
        *,
        service: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._own = MemoryStore(clock=clock)
        self._service = service
        self._clock = clock
        self._away_until = 0.0
        self._owed: OrderedDict[str, int] = OrderedDict()
        self._settling = asyncio.Lock()
        self._answered: OrderedDict[str, float] = OrderedDict()
        self.hits = self.misses = self.failures = 0

    def tenant(
        self, tenant: str, kind: str, *, seconds: float, recheck: float = math.inf
    ) -> TenantCache:
        """Return the cache of one kind of thing of one tenant.

        Args:
            tenant: The tenant's id.
            kind: Such as `settings`.
            seconds: How long a value is kept.
            recheck: Seconds after which a process loads one value again, whichever is asked for next,
                before it believes any other of them: where loading is refused, what is kept is not
                given out either. Never by default.

        Raises:
            InvalidTenantId: It is none. There is no entry without a tenant.
        """
        prefix = f"{self._service}:{check_tenant_id(tenant)}:{kind}:"
        return TenantCache(self, prefix, seconds, recheck)

    async def healthy(self) -> bool:
        """Tell whether the shared store answers; True if there is none."""
        return self._shared is None or await self._shared.ping()

    def numbers(self) -> dict[str, int | float]:
        """Return the counters, for metrics."""
        return {
            "cache_hits_total": self.hits,
            "cache_misses_total": self.misses,
            "cache_failures_total": self.failures,
            "cache_invalidations_owed": len(self._owed),
        }

    async def _store(self) -> Store:
        """Return the store to use now."""
        if self._shared is None or self._clock() < self._away_until:
            return self._own
        if self._owed:
            async with self._settling:
                await self._settle(self._shared)
        return self._own if self._owed else self._shared

    async def _settle(self, shared: Store) -> None:
        try:
            while self._owed:
                key, version = next(iter(self._owed.items()))
                await shared.drop(key, version, TOMBSTONE)
                if self._owed.get(key) == version:
                    del self._owed[key]
        except StoreUnavailable as exc:
            self._missed(exc)

    def _missed(self, exc: StoreUnavailable) -> None:
        self.failures += 1
        if self._clock() >= self._away_until:
            _logger.warning("the shared cache is away, this process's own serves: %s", exc)
        self._away_until = self._clock() + PAUSE

    def _is_believed(self, prefix: str, recheck: float) -> bool:
        return self._clock() - self._answered.get(prefix, -math.inf) <= recheck

    def _note_answer(self, prefix: str) -> None:
        self._answered[prefix] = self._clock()
        self._answered.move_to_end(prefix)
        while len(self._answered) > _MOST_ANSWERED:
            self._answered.popitem(last=False)

    async def _get(self, key: str) -> bytes | None:
        try:
            return await (await self._store()).get(key)
        except StoreUnavailable as exc:
            self._missed(exc)
            return await self._own.get(key)

    async def _fill(self, key: str, version: int, value: bytes, seconds: float) -> None:
        try:
            store = await self._store()
            if store is self._own:
                seconds = min(seconds, OWN)
            await store.fill(key, version, value, seconds)
        except StoreUnavailable as exc:
            self._missed(exc)

    async def _drop(self, key: str, version: int) -> None:
        await self._own.drop(key, version, TOMBSTONE)
        if self._shared is None:
            return
        try:
            if await self._store() is self._shared:
                await self._shared.drop(key, version, TOMBSTONE)
                return
        except StoreUnavailable as exc:
            self._missed(exc)
        self._owed[key] = max(version, self._owed.get(key, 0))
        if len(self._owed) > _MOST_OWED:
            self._owed.popitem(last=False)
            _logger.warning("an invalidation was given up: the shared cache is away for long")


class TenantCache:
    """One kind of thing of one tenant; `Cache.tenant` makes it."""

    def __init__(self, cache: Cache, prefix: str, seconds: float, recheck: float) -> None:
        self._cache = cache
        self._prefix = prefix
        self._seconds = seconds
        self._recheck = recheck

    async def get(self, key: str, load: Callable[[], Awaitable[Cached | None]]) -> Any:
        """Return the value, from the cache or as it is loaded; None if there is none to load.

        Args:
            key: Which one.
            load: Reads it from the database, with its version.
        """
        name = self._prefix + key
        believed = self._cache._is_believed(self._prefix, self._recheck)
        found = await self._cache._get(name) if believed else None
        if found is not None:
            self._cache.hits += 1
            return json.loads(found)
        self._cache.misses += 1
        loaded = await load()
        self._cache._note_answer(self._prefix)
        if loaded is None:
            return None
        text = json.dumps(loaded.value, separators=(",", ":")).encode()
        await self._cache._fill(name, loaded.version, text, self._seconds)
        return loaded.value

    async def invalidate(self, key: str, version: int) -> None:
        """Forget every value below this version; call it after the commit of the change.

        Args:
            key: Which one.
            version: The version after the change; of a row that is gone, its last one and one more.
        """
        await self._cache._drop(self._prefix + key, version)
