"""Rate limits: a token bucket for each caller, in the shared store or in this process.

```python
login_limit = RateLimit("login", most=5, seconds=60)

@router.post("/login", dependencies=[public(), limited(login_limit, by=address)])
```
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from fastapi import Depends, Request
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mtenant_errors import TooManyRequests

_MOST: Final = 50_000
_PAUSE: Final = 1.0

# The bucket's level and when it had it; the server's clock, which all processes share.
_TAKE: Final = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local most, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local old = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = most
if old[1] then level = math.min(most, tonumber(old[1]) + (now - tonumber(old[2])) * rate) end
local wait = 0
if level >= 1 then level = level - 1 else wait = (1 - level) / rate end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(most / rate * 1000) + 1000)
return tostring(wait)
"""

_logger = logging.getLogger("mtenant_chassis.ratelimit")


class RateExceeded(TooManyRequests):
    """The caller is over its rate; `Retry-After` says when it is welcome again."""

    code, message = "RATE_EXCEEDED", "too many requests: try again later"


@dataclass(frozen=True)
class RateLimit:
    """How much is too much.

    Attributes:
        name: What is limited.
        most: How many at once, when nothing happened before.
        seconds: In which the bucket fills again.
    """

    name: str
    most: int
    seconds: float

    @property
    def rate(self) -> float:
        """How many a second, in the long run."""
        return self.most / self.seconds


class RateLimiter:
    """Counts callers.

    Args:
        client: The server that processes share; without it, and while it is away, each process counts
            by itself.
        service: Put before every key.
        clock: Gives seconds that only go forward; for the process's own count.
    """

    def __init__(
        self,
        client: Redis | None = None,
        *,
        service: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take = None if client is None else client.register_script(_TAKE)
        self._service = service
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._away_until = 0.0

    async def take(self, limit: RateLimit, *who: str) -> None:
        """Let one more of a caller pass.

        Args:
            limit: Which one.
            *who: The caller, such as the tenant and the user's id; only a digest is kept.

        Raises:
            RateExceeded: It has to wait.
        """
        digest = blake2b("\0".join(who).encode("utf-8", "replace"), digest_size=16).hexdigest()
        key = f"{self._service}:rate:{limit.name}:{digest}"
        wait = await self._wait(key, limit)
        if wait > 0:
            raise RateExceeded(retry_after=math.ceil(wait))

    async def _wait(self, key: str, limit: RateLimit) -> float:
        if self._take is not None and self._clock() >= self._away_until:
            try:
                return float(await self._take(keys=[key], args=[limit.most, limit.rate]))
            except (RedisError, OSError, TimeoutError) as exc:
                self._away_until = self._clock() + _PAUSE
                _logger.warning("rates are counted in this process only: %s", exc)
        return self._wait_here(key, limit)

    def _wait_here(self, key: str, limit: RateLimit) -> float:
        now = self._clock()
        level, at = self._buckets.pop(key, (float(limit.most), now))
        level = min(limit.most, level + (now - at) * limit.rate)
        wait = 0.0 if level >= 1 else (1 - level) / limit.rate
        self._buckets[key] = (level - 1 if level >= 1 else level, now)
        while len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return wait


def by_address(request: Request) -> tuple[str, ...]:
    """Tell callers apart by the peer's address, as the server saw it or believed its proxy."""
    return (request.client.host if request.client else "",)


def by_principal(request: Request) -> tuple[str, ...]:
    """Tell callers apart by who they are in their tenant; those without a token by their address."""
    principal = request.scope["state"].get("principal")
    if principal is None:
        return by_address(request)
    return (principal.tenant or "", principal.key)


def limited(limit: RateLimit, *, by: Callable[[Request], tuple[str, ...]] = by_principal) -> Any:
    """Limit a route; for its `dependencies=[...]`.

    Args:
        limit: How much is too much.
        by: Tells callers apart.
    """

    async def take(request: Request) -> None:
        await request.app.state.chassis.limits.take(limit, *by(request))

    return Depends(take)
