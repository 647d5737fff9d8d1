"""RedisStore: entries that processes share, by the Redis protocol (Valkey, Redis 7.2)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mtenant_chassis.cache.store import StoreUnavailable

T = TypeVar("T")

# An entry is "<version>:<value>", a tombstone "<version>" alone. The script compares and sets in one step.
_FILL: Final = """
local old = redis.call('GET', KEYS[1])
if old then
    local known, rest = string.match(old, '^(%d+)(:?)')
    known = tonumber(known)
    local version = tonumber(ARGV[1])
    if known > version or (known == version and rest == ':') then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_DROP: Final = """
local old = redis.call('GET', KEYS[1])
if old and tonumber(string.match(old, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class RedisStore:
    """Keeps entries in a server that other processes use, too.

    Args:
        client: Whose lifetime is the caller's.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._fill = client.register_script(_FILL)
        self._drop = client.register_script(_DROP)

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        found: bytes | None = await _translated(self._client.get(key))
        if found is None:
            return None
        _, colon, value = found.partition(b":")
        return value if colon else None

    async def fill(self, key: str, version: int, value: bytes, seconds: float) -> None:
        """Keep a value, unless something newer is known."""
        arguments: list[Any] = [version, value, _milliseconds(seconds)]
        await _translated(self._fill(keys=[key], args=arguments))

    async def drop(self, key: str, version: int, seconds: float) -> None:
        """Leave a tombstone."""
        await _translated(self._drop(keys=[key], args=[version, _milliseconds(seconds)]))

    async def ping(self) -> bool:
        """Tell whether the server answers."""
        try:
            return bool(await _translated(self._client.ping()))
        except StoreUnavailable:
            return False


async def _translated(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailable(f"{type(exc).__name__}: {exc}") from exc


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
