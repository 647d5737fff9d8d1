"""The worker: finishes what a process that died, or a service that was away, has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from mtenant_chassis import Chassis
from mtenant_config import ConfigError, Problem
from mtenant_logger import get_logger
from tenant_service.handlers.lifecycle import Lifecycle
from tenant_service.handlers.registration import Registrar
from tenant_service.settings import TenantServiceSettings

POLL: Final = 2.0
"""Seconds between two looks."""

SWEEP: Final = 600.0
"""Seconds between two looks for what may be forgotten."""

log = get_logger(__name__)


class Worker:
    """Looks for registrations and status changes that nobody works on. Any number may run.

    Args:
        chassis: Of the running app.
        own: This service's settings.
    """

    def __init__(self, chassis: Chassis, own: TenantServiceSettings) -> None:
        self._registrar = Registrar(chassis, own)
        self._lifecycle = Lifecycle(chassis, own)
        self._next_sweep = 0.0

    async def turn(self) -> bool:
        """Do what is to do; tell whether there was anything."""
        busy = await self._registrar.take_over()
        busy = await self._lifecycle.finish_some() or busy
        await self._lifecycle.forget_some()
        now = asyncio.get_running_loop().time()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            await self._registrar.sweep()
        return busy

    async def run(self) -> None:
        """Do so until cancelled; whatever a cancelled turn leaves is found by the next one."""
        while True:
            try:
                busy = await self.turn()
            except Exception as exc:
                log.warning("the worker of tenants failed, later again", err=exc)
                busy = False
            if not busy:
                await asyncio.sleep(POLL)


@asynccontextmanager
async def working(chassis: Chassis, own: TenantServiceSettings) -> AsyncIterator[Worker]:
    """Run a worker as long as the app runs.

    Raises:
        ConfigError: Nothing could be registered: auth-service would not know who asks.
    """
    if chassis.settings.auth.client_secret is None:
        why = "missing, expected the secret by which auth-service knows this service"
        raise ConfigError([Problem("SERVICE_CLIENT_SECRET", "missing", why)])
    worker = Worker(chassis, own)
    task = asyncio.create_task(worker.run(), name="tenant-service worker")
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.wait({task})
