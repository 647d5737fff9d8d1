"""A cache whose every key has its tenant, and which never brings an old value back.

>>> import asyncio
>>> from mtenant_chassis.cache import Cache, Cached
>>> async def main() -> object:
...     settings = Cache().tenant("acme", "settings", seconds=60)
...     async def load() -> Cached:
...         return Cached(version=1, value={"theme": "dark"})
...     return await settings.get("main", load)
>>> asyncio.run(main())
{'theme': 'dark'}
"""

from mtenant_chassis.cache.cache import RECHECK, Cache, Cached, TenantCache
from mtenant_chassis.cache.memory import MemoryStore
from mtenant_chassis.cache.redis import RedisStore
from mtenant_chassis.cache.store import Store, StoreUnavailable

__all__ = [
    "RECHECK",
    "Cache",
    "Cached",
    "MemoryStore",
    "RedisStore",
    "Store",
    "StoreUnavailable",
    "TenantCache",
]
