"""Whether the service works: for people, for load balancers, for whatever restarts it.

| path | alias | says |
|---|---|---|
| `/live` | `/livez` | 200 as long as the process answers; it touches nothing |
| `/ready` | `/readyz` | 200 if requests should be sent here: started, not stopping, database there |
| `/health` | `/healthz` | 200 if everything is well, 503 if anything is not |
| `/health/detailed` | | everything, with memory and disk |
| `/health/database` | | the pool's numbers |
| `/metrics` | | numbers for Prometheus |

The last three tell a lot: outside of development they want `OPS_TOKEN` as a bearer token.
"""

from __future__ import annotations

import asyncio
import hmac
import resource
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from mtenant_chassis.auth.access import TokenMissing, public
from mtenant_chassis.auth.middleware import bearer_token
from mtenant_chassis.metrics import CONTENT_TYPE
from mtenant_chassis.route import Router
from mtenant_database import HealthStatus
from mtenant_errors import Unauthorized

if TYPE_CHECKING:
    from mtenant_chassis.chassis import Chassis

Word = Literal["healthy", "unhealthy", "degraded"]
Phase = Literal["starting", "ready", "draining"]
Probe = Callable[[], Awaitable[bool]]

PROBE: Final = 2.0
"""Seconds that a dependency has to answer."""

_AGE: Final = 1.0  # seconds for which a check serves everybody who asks
_FREE: Final = 0.05  # of a disk: below it writes are about to fail


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Whether requests should be sent here."""

    status: Literal["ready", "not ready"]
    phase: Phase
    database: Word


class Health(BaseModel):
    """How the service is."""

    status: Word
    timestamp: datetime
    uptime: str
    version: str
    services: dict[str, Word]
    database: dict[str, Any]


class DetailedHealth(Health):
    """How the service is, with what it uses."""

    memory: dict[str, int]
    disk: dict[str, int]


@dataclass
class HealthChecks:
    """What is checked, and how far the process is.

    Attributes:
        database: Checks the database.
        phase: `starting`, `ready` or `draining`.
        probes: Further dependencies by name: whether each is well.
    """

    database: Callable[[], Awaitable[HealthStatus]]
    phase: Phase = "starting"
    probes: dict[str, Probe] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    _last: tuple[float, HealthStatus, Mapping[str, bool]] | None = None
    _running: asyncio.Task[None] | None = None

    async def check(self) -> tuple[HealthStatus, Mapping[str, bool]]:
        """Return what was found at most a second ago: a flood of questions is one question."""
        if self._last is None or time.monotonic() - self._last[0] > _AGE:
            if self._running is None:
                self._running = asyncio.create_task(self._look())
            await asyncio.shield(self._running)
        assert self._last is not None  # noqa: S101 - `_look` does not fail
        return self._last[1], self._last[2]

    async def _look(self) -> None:
        try:
            names = list(self.probes)
            status, found = await asyncio.gather(
                self.database(), asyncio.gather(*(_probe(self.probes[name]) for name in names))
            )
            self._last = time.monotonic(), status, dict(zip(names, found, strict=True))
        finally:
            self._running = None

    @property
    def uptime(self) -> str:
        """How long the app runs, as `1h 30m 45s`."""
        seconds = int(time.monotonic() - self.begun)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}h {minutes}m {seconds % 60}s"


async def _probe(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE):
            return await probe()
    except Exception:
        return False


def health_router() -> Router:
    """Return the routes of the table above."""
    router = Router(tags=["health"])
    _add_probes(router)
    _add_details(router)
    return router


def _chassis(request: Request) -> Chassis:
    chassis: Chassis = request.app.state.chassis
    return chassis


async def _operator(request: Request) -> None:
    """Let operators pass."""
    settings = _chassis(request).settings
    if settings.ops_token is None:
        if settings.is_development:
            return
        raise OpsClosed
    given = bearer_token(request.scope)
    if given is None:
        raise TokenMissing
    if not hmac.compare_digest(given.encode(), settings.ops_token.reveal().encode()):
        raise OpsClosed


class OpsClosed(Unauthorized):
    """This is for operators."""

    code, message = "OPS_TOKEN_NEEDED", "this is for operators: set OPS_TOKEN, and send it"


_FOR_OPERATORS: Final = [public(), Depends(_operator)]


def _add_probes(router: Router) -> None:
    @router.get("/live", dependencies=[public()])
    @router.get("/livez", dependencies=[public()], include_in_schema=False)
    async def live() -> Live:
        """Tell that the process answers."""
        return Live()

    @router.get("/ready", dependencies=[public()], responses={503: {"model": Ready}})
    @router.get("/readyz", dependencies=[public()], include_in_schema=False)
    async def ready(request: Request, response: Response) -> Ready:
        """Tell whether requests should be sent here."""
        checks = _chassis(request).health
        if checks.phase != "ready":
            response.status_code = 503
            return Ready(status="not ready", phase=checks.phase, database="degraded")
        status, _ = await checks.check()
        if not status.healthy:
            response.status_code = 503
            return Ready(status="not ready", phase=checks.phase, database="unhealthy")
        return Ready(status="ready", phase=checks.phase, database="healthy")

    @router.get("/health", dependencies=[public()], responses={503: {"model": Health}})
    @router.get("/healthz", dependencies=[public()], include_in_schema=False)
    async def health(request: Request, response: Response) -> Health:
        """Tell whether everything is well."""
        found = await _health(_chassis(request))
        response.status_code = 200 if found.status == "healthy" else 503
        found.database.pop("error", None)
        return found


def _add_details(router: Router) -> None:
    @router.get(
        "/health/detailed",
        dependencies=_FOR_OPERATORS,
        responses={503: {"model": DetailedHealth}},
    )
    async def detailed(request: Request, response: Response) -> DetailedHealth:
        """Tell everything, for operators."""
        found = await _health(_chassis(request))
        disk = await asyncio.to_thread(shutil.disk_usage, "/")
        services = found.services | {
            "memory": "healthy",
            "disk": "healthy" if disk.free > _FREE * disk.total else "degraded",
        }
        response.status_code = 200 if found.status == "healthy" else 503
        return DetailedHealth(
            **{**found.model_dump(), "services": services},
            memory={"peak_bytes": _peak_memory()},
            disk={"total_bytes": disk.total, "free_bytes": disk.free},
        )

    @router.get(
        "/health/database", dependencies=_FOR_OPERATORS, responses={503: {"model": dict[str, Any]}}
    )
    async def database(request: Request, response: Response) -> dict[str, Any]:
        """Tell the pool's numbers, for operators."""
        status, _ = await _chassis(request).health.check()
        response.status_code = 200 if status.healthy else 503
        word = _word(well=status.healthy)
        return {
            "status": word,
            "timestamp": datetime.now(UTC),
            "database": {
                **status.to_dict(),
                "connectivity": word,
                "pool_stats": status.stats.to_dict(),
            },
        }

    @router.get(
        "/metrics",
        dependencies=_FOR_OPERATORS,
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request) -> Response:
        """Tell the numbers, for Prometheus."""
        chassis = _chassis(request)
        await chassis.count()
        return Response(chassis.metrics.render(), media_type=CONTENT_TYPE)


async def _health(chassis: Chassis) -> Health:
    status, others = await chassis.health.check()
    services: dict[str, Word] = {"database": _word(well=status.healthy)}
    services |= {name: _word(well=well) for name, well in others.items()}
    whole: Word = "healthy"
    if not status.healthy:
        whole = "unhealthy"
    elif not all(others.values()):
        whole = "degraded"
    return Health(
        status=whole,
        timestamp=datetime.now(UTC),
        uptime=chassis.health.uptime,
        version=chassis.settings.version,
        services=services,
        database=status.to_dict(),
    )


def _word(*, well: bool) -> Word:
    return "healthy" if well else "unhealthy"


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux
