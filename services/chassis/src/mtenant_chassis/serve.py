"""Serving: `python -m contact_service`, until SIGTERM, and then until the last answer."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from mtenant_chassis.app import App
from mtenant_chassis.chassis import chassis_of
from mtenant_chassis.migrate import deploy
from mtenant_chassis.settings import Settings
from mtenant_chassis.tuning import tune
from mtenant_config import ConfigError
from mtenant_errors import AppError
from mtenant_logger import LoggerConfig, configure

_NOT_STARTED: Final = 3  # as uvicorn's own command


class Server(uvicorn.Server):
    """uvicorn's server, which says by `/ready` that it will stop before it does.

    At the first SIGTERM or SIGINT `/ready` turns 503. After the drain delay the listening socket
    closes, and when the running requests are answered the process ends with status 0. A second signal
    skips the delay.

    Args:
        app: The app.
        settings: Where to listen, and how long to wait.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        self._delay = settings.seconds_of_drain
        self._leaving = False
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port or 0,
                ws="none",  # nothing here speaks WebSocket
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout.total_seconds())),
            )
        )

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start to serve."""
        await super().startup(sockets)
        tune()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; called by the signal."""
        # Into the loop: a signal handler runs between any two steps of whatever is running.
        asyncio.get_running_loop().call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Say that no more requests should come, and stop after the delay."""
        chassis_of(self._app).drain()
        if self._leaving:
            self.should_exit = True
            return
        self._leaving = True
        asyncio.get_running_loop().call_later(self._delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def run(app: FastAPI, settings: Settings) -> int:
    """Serve an app until a signal says to stop.

    Returns:
        The exit status: 0, or 3 if the app did not start; why is in the log.

    Raises:
        SystemExit: The port is taken; with 1 or 3, as uvicorn has it.
    """
    server = Server(app, settings)
    server.run()
    return 0 if server.started else _NOT_STARTED


def main(
    service: str,
    create: Callable[[Settings], App],
    *,
    port: int,
    version: str,
    migrations: Path | None = None,
    calls: Iterable[str] = ("auth-service",),
    commands: Mapping[str, Callable[[], int]] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Be the command `python -m <name>_service`: serve, `migrate`, or print the `openapi` document.

    Args:
        service: The service's name.
        create: Makes the app from settings.
        port: Where it listens without `PORT`.
        version: Its version.
        migrations: Its folder of migrations.
        calls: The services that it calls.
        commands: What it can do besides, by name: each returns the exit status, or raises ConfigError.
        arguments: Instead of the command line's.

    Returns:
        The exit status: 0; 2 for settings that are wrong; 3 if it could not start. Of `migrate`:
        1 if it was aborted, 3 if some tenants failed.
    """
    parser = argparse.ArgumentParser(prog=service, description=f"{service} {version}")
    own = dict(commands or {})
    choices = ["serve", "migrate", "openapi", *own]
    parser.add_argument("command", nargs="?", choices=choices, default="serve")
    command = parser.parse_args(arguments).command
    try:
        if command in own:
            return own[command]()
        if command == "migrate":  # it calls nobody, and needs no secret but the database's
            settings = Settings.from_env(service, port=port, version=version, calls=())
            return _migrate(settings, LoggerConfig.from_env(service), migrations)
        settings = Settings.from_env(service, port=port, version=version, calls=calls)
        app = create(settings)  # a service may have settings of its own
        lines = LoggerConfig.from_env(service)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if command == "openapi":
        print(json.dumps(app.openapi(), indent=2))
        return 0
    configure(lines)
    # It writes every URL that is called, with its query; what fails is in the error.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return run(app, settings)


def _migrate(settings: Settings, lines: LoggerConfig, migrations: Path | None) -> int:
    configure(lines)
    try:
        reports = asyncio.run(deploy(settings, migrations))
    except AppError as error:
        print(f"{settings.service}: {error.code}: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{settings.service}: interrupted; run the same again to go on", file=sys.stderr)
        return 130
    print(*(report.to_table() for report in reports), sep="\n")
    return max(report.exit_code for report in reports)
