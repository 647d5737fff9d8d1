from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from mtenant_chassis.cache import (
    RECHECK,
    Cache,
    Cached,
    MemoryStore,
    RedisStore,
    Store,
    StoreUnavailable,
)
from mtenant_chassis.cache.cache import OWN, PAUSE, TOMBSTONE
from mtenant_database import InvalidTenantId, TenantSuspended

pytestmark = pytest.mark.anyio


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis: Redis) -> Store:
    return MemoryStore() if request.param == "memory" else RedisStore(redis)


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def test_a_value_is_there_until_its_time_is_over(store: Store, key: str) -> None:
    await store.fill(key, 1, b"one", 60)
    assert await store.get(key) == b"one"

    await store.fill(key + "b", 1, b"two", 0.001)
    async with asyncio.timeout(30):
        while await store.get(key + "b") is not None:
            await asyncio.sleep(0.002)


async def test_a_slow_reader_does_not_bring_an_old_value_back(store: Store, key: str) -> None:
    await store.fill(key, 1, b"old", 60)
    await store.drop(key, 2, 60)
    await store.fill(key, 1, b"old", 60)

    assert await store.get(key) is None

    await store.fill(key, 2, b"new", 60)
    assert await store.get(key) == b"new"


async def test_a_newer_value_outlives_a_late_invalidation(store: Store, key: str) -> None:
    await store.fill(key, 3, b"newest", 60)
    await store.drop(key, 2, 60)
    await store.drop(key, 3, 60)

    assert await store.get(key) == b"newest"


async def test_any_bytes_are_a_value(store: Store, key: str) -> None:
    for version, value in enumerate((b"", b":", b"1:2", b"\x00\xff", b"x" * 100_000), 1):
        await store.fill(key, version, value, 60)
        assert await store.get(key) == value


@given(
    st.lists(
        st.tuples(st.sampled_from(["fill", "drop"]), st.integers(0, 6)), min_size=1, max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_both_stores_agree_and_never_go_back(redis_url: str, steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        key, memory = uuid4().hex, MemoryStore()
        async with Redis.from_url(redis_url) as client:
            shared, floor = RedisStore(client), -1
            for verb, version in steps:
                for store in (memory, shared):
                    if verb == "fill":
                        await store.fill(key, version, str(version).encode(), 60)
                    else:
                        await store.drop(key, version, 60)
                floor = max(floor, version if verb == "drop" else -1)
                found = await memory.get(key)
                assert found == await shared.get(key)
                assert found is None or int(found) >= floor

    asyncio.run(run())


async def test_the_memory_store_keeps_what_was_used_last() -> None:
    store = MemoryStore(most=3)
    for name in "abc":
        await store.fill(name, 1, name.encode(), 60)
    await store.get("a")
    await store.fill("d", 1, b"d", 60)

    assert [name for name in "abcd" if await store.get(name)] == ["a", "c", "d"]


def load(version: int, value: Any) -> Any:
    async def loaded() -> Cached | None:
        return None if value is None else Cached(version, value)

    return loaded


async def test_every_key_has_its_tenant(redis: Redis) -> None:
    service = uuid4().hex
    cache = Cache(RedisStore(redis), service=service)
    for tenant in ("acme", "other"):
        await cache.tenant(tenant, "settings", seconds=60).get("main", load(1, tenant))

    assert await cache.tenant("acme", "settings", seconds=60).get("main", load(2, "x")) == "acme"
    assert await cache.tenant("other", "settings", seconds=60).get("main", load(2, "x")) == "other"
    keys = [key.decode() async for key in redis.scan_iter(f"{service}:*")]
    assert sorted(keys) == [f"{service}:acme:settings:main", f"{service}:other:settings:main"]


@pytest.mark.parametrize("tenant", ["", "a:b", "Acme", "acme\n", "*"])
def test_there_is_no_entry_of_what_is_no_tenant(tenant: str) -> None:
    with pytest.raises(InvalidTenantId):
        Cache().tenant(tenant, "settings", seconds=60)


async def test_what_is_kept_is_not_given_out_where_loading_is_refused() -> None:
    now = 0.0
    cache = Cache(MemoryStore(clock=lambda: now), clock=lambda: now)
    notes = cache.tenant("acme", "note", seconds=900, recheck=RECHECK)
    others = cache.tenant("acme", "other", seconds=900)

    async def refused() -> Cached | None:
        raise TenantSuspended

    for one in (notes, others):
        assert await one.get("a", load(1, "a")) == await one.get("a", refused) == "a"
    now = RECHECK + 1
    with pytest.raises(TenantSuspended):
        await notes.get("a", refused)
    with pytest.raises(TenantSuspended):
        await notes.get("a", refused)
    assert await others.get("a", refused) == "a"

    assert await notes.get("b", load(1, "b")) == "b"
    assert await notes.get("a", refused) == "a"


async def test_what_is_not_there_is_loaded_each_time() -> None:
    cache = Cache().tenant("acme", "settings", seconds=60)

    assert await cache.get("main", load(1, None)) is None
    assert await cache.get("main", load(1, {"a": [1, None, "ä"]})) == {"a": [1, None, "ä"]}
    assert await cache.get("main", load(9, "not asked")) == {"a": [1, None, "ä"]}


class Moody:
    """A store that goes away and comes back, with what it had."""

    def __init__(self, inside: Store) -> None:
        self.inside = inside
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await self.inside.get(key)

    async def fill(self, key: str, version: int, value: bytes, seconds: float) -> None:
        self._check()
        await self.inside.fill(key, version, value, seconds)

    async def drop(self, key: str, version: int, seconds: float) -> None:
        self._check()
        await self.inside.drop(key, version, seconds)

    async def ping(self) -> bool:
        return not self.away


async def test_an_invalidation_that_the_store_missed_is_told_before_it_is_asked_again() -> None:
    now = 0.0
    store = Moody(MemoryStore(clock=lambda: now))
    cache = Cache(store, clock=lambda: now)
    notes = cache.tenant("acme", "note", seconds=60)
    assert await notes.get("n", load(1, "old")) == "old"

    store.away = True
    await notes.invalidate("n", 2)
    assert await notes.get("n", load(2, "new")) == "new"
    assert cache.numbers()["cache_invalidations_owed"] == 1
    assert not await cache.healthy()
    store.away, now = False, PAUSE + 0.1

    assert await notes.get("n", load(2, "new")) == "new"
    assert cache.numbers()["cache_invalidations_owed"] == 0
    assert await store.inside.get(":acme:note:n") == b'"new"'


async def test_a_store_that_fails_is_left_alone_for_a_while() -> None:
    now = 0.0
    store = Moody(MemoryStore(clock=lambda: now))
    cache = Cache(store, clock=lambda: now)
    notes = cache.tenant("acme", "note", seconds=60)
    store.away = True

    for n in range(10):
        await notes.get(str(n), load(1, n))

    assert cache.failures == 1


async def test_alone_a_process_keeps_values_for_a_short_time_only() -> None:
    now = 0.0
    store = Moody(MemoryStore(clock=lambda: now))
    notes = Cache(store, clock=lambda: now).tenant("acme", "note", seconds=24 * 3600)
    store.away = True
    await notes.get("n", load(1, "old"))
    now = OWN + 1

    assert await notes.get("n", load(2, "new")) == "new"


async def test_no_reader_sees_a_value_older_than_an_invalidation_that_it_came_after() -> None:
    """Writers, slow readers and a store that goes away, at random; the database is `row`."""
    now, chance = 0.0, random.Random(7)
    store = Moody(MemoryStore(clock=lambda: now))
    cache = Cache(store, clock=lambda: now)
    notes = cache.tenant("acme", "note", seconds=60)
    row = 1

    async def slow_load() -> Cached:
        seen = row
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        return Cached(seen, seen)

    async def reader() -> None:
        for _ in range(60):
            floor = invalidated
            assert await notes.get("n", slow_load) >= floor
            await asyncio.sleep(0)

    invalidated = 1

    async def writer() -> None:
        nonlocal row, invalidated, now
        for _ in range(60):
            row += 1
            version = row
            await notes.invalidate("n", version)
            invalidated = max(invalidated, version)
            if chance.random() < 0.2:
                store.away = not store.away
            now += chance.choice([0, 0.5, 2])
            await asyncio.sleep(0)

    await asyncio.gather(writer(), *(reader() for _ in range(4)))
    assert TOMBSTONE > 60
