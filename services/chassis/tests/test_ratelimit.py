from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from mtenant_chassis import RateLimit, Router, by_address, limited, public, requires
from mtenant_chassis.ratelimit import RateExceeded, RateLimiter
from mtenant_chassis.testing import Issuer, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def passed(limiter: RateLimiter, limit: RateLimit, times: int, *who: str) -> int:
    found = await asyncio.gather(
        *(limiter.take(limit, *who) for _ in range(times)), return_exceptions=True
    )
    assert all(one is None or isinstance(one, RateExceeded) for one in found)
    return sum(one is None for one in found)


@pytest.mark.parametrize("kind", ["here", "shared"])
async def test_so_many_at_once_and_then_one_after_the_other(redis: Redis, kind: str) -> None:
    limiter = RateLimiter(redis if kind == "shared" else None, service=uuid4().hex)
    limit = RateLimit("login", most=5, seconds=3600)

    assert await passed(limiter, limit, 20, "acme", "ada") == 5
    assert await passed(limiter, limit, 20, "acme", "grace") == 5
    with pytest.raises(RateExceeded) as raised:
        await limiter.take(limit, "acme", "ada")
    assert 700 <= (raised.value.retry_after or 0) <= 720


async def test_two_processes_share_one_count(redis: Redis) -> None:
    service, limit = uuid4().hex, RateLimit("login", most=5, seconds=3600)
    one, two = RateLimiter(redis, service=service), RateLimiter(redis, service=service)

    assert await passed(one, limit, 4, "ada") + await passed(two, limit, 4, "ada") == 5


async def test_the_bucket_fills_again() -> None:
    now = 0.0
    limiter = RateLimiter(clock=lambda: now)
    limit = RateLimit("login", most=2, seconds=10)
    assert await passed(limiter, limit, 3, "ada") == 2
    now = 5.0
    assert await passed(limiter, limit, 3, "ada") == 1
    now = 1000.0
    assert await passed(limiter, limit, 3, "ada") == 2


async def test_without_the_shared_server_each_process_counts_by_itself() -> None:
    nobody = Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2)
    limiter = RateLimiter(nobody)

    assert await passed(limiter, RateLimit("login", most=3, seconds=3600), 10, "ada") == 3
    await nobody.aclose()


async def test_the_names_of_callers_are_not_kept(redis: Redis) -> None:
    service = uuid4().hex
    await RateLimiter(redis, service=service).take(RateLimit("login", 5, 60), "ada@example.com")

    keys = [key.decode() async for key in redis.scan_iter(f"{service}:*")]
    assert len(keys) == 1
    assert "ada" not in keys[0]


async def test_a_route_over_its_rate_says_when_to_come_again(
    notes_app: Any, issuer: Issuer, acme: str, other: str
) -> None:
    router = Router()
    limit = RateLimit("few", most=2, seconds=3600)

    @router.get("/few", dependencies=[requires("a:read"), limited(limit)])
    async def few() -> None: ...

    @router.get("/few-open", dependencies=[public(), limited(limit, by=by_address)])
    async def few_open() -> None: ...

    async with running(notes_app(more=[router])) as client:
        mine = [await client.get("/few", headers=issuer.bearer(acme, "owner")) for _ in range(3)]
        theirs = await client.get("/few", headers=issuer.bearer(other, "owner"))
        anybody = [await client.get("/few-open") for _ in range(3)]

    assert [one.status_code for one in mine] == [200, 200, 429]
    assert theirs.status_code == 200
    assert [one.status_code for one in anybody] == [200, 200, 429]
    assert mine[2].json()["code"] == "RATE_EXCEEDED"
    assert 1700 <= int(mine[2].headers["retry-after"]) <= 1800
