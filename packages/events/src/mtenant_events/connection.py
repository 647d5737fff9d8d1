"""The connection to NATS: made again for as long as it takes, and visibly dead once it is closed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import backoff
import nats.errors
from nats.aio.client import Server

from mtenant_events.config import EventsConfig
from mtenant_events.direct_client import DirectClient, not_direct
from mtenant_events.errors import BusClosed, EventsUnavailable
from mtenant_events.login import login_of, readable, tls_context, without_login

BEAT: Final = 2.0
"""Seconds between two heartbeats."""

DEAF: Final = 7.0
"""Seconds without any answer after which the connection is made again."""

LONGEST_WAIT: Final = 4.0
"""Seconds between two attempts to connect at most."""

_FIRST_WAIT: Final = 0.1
_PENDING: Final = 64 << 20  # bytes; what is under way is bounded by the windows of who publishes

logger = logging.getLogger(__name__)

Callback = Callable[[], object]


class Connection:
    """One connection, with a heartbeat.

    Args:
        config: Where, and how to log in.

    Attributes:
        client: The client of nats-py; it is the same one for as long as this lives.
    """

    def __init__(self, config: EventsConfig) -> None:
        self.client: DirectClient = _Client()
        self._config = config
        self._on_loss: list[Callback] = []
        self._on_return: list[Callback] = []
        self._waits = _waits()
        self._problem = "no server has answered"
        self._refused = asyncio.Event()
        self._refusal = ""
        self._returned = asyncio.Event()
        self._heard = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._closing = False
        self._dead = False

    @property
    def connected(self) -> bool:
        """Whether what is sent now goes out."""
        return self.client.is_connected and not self._closing and not self.client.is_draining

    @property
    def closed(self) -> bool:
        """Whether it is closed, by us or because the server does not want us any more."""
        return self._closing or self._dead

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the server was heard last."""
        return monotonic() - self._heard

    @property
    def problem(self) -> str:
        """What the client complained of last; no part of a login is in it."""
        return self._problem

    def on_loss(self, callback: Callback) -> None:
        """Have something called when the connection is lost or closed."""
        self._on_loss.append(callback)

    def on_return(self, callback: Callback) -> None:
        """Have something called when a lost connection is there again."""
        self._on_return.append(callback)

    def heard(self) -> None:
        """Note that the server has answered."""
        self._heard = monotonic()

    def check(self) -> None:
        """Return if what is sent now goes out.

        Raises:
            BusClosed: It never will.
            EventsUnavailable: It may later.
        """
        if self.closed or self.client.is_draining:
            raise BusClosed(internal=f"the connection is closed: {self._problem}")
        if not self.client.is_connected:
            raise EventsUnavailable(internal=f"no connection to NATS: {self._problem}")

    async def wait(self, seconds: float) -> None:
        """Return as soon as there is a connection.

        Raises:
            BusClosed: There will be none.
            EventsUnavailable: There was none for so many seconds.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.closed and not self.client.is_connected:
                    self._returned.clear()
                    await self._returned.wait()
        self.check()

    async def open(self) -> None:
        """Connect.

        Raises:
            EventsUnavailable: No server answered within `connect_timeout` for each that is named, or
                one refused the login.
            ValueError: A file of the settings cannot be read.
        """
        options = self._options()
        seconds = self._config.connect_timeout.total_seconds() * len(self._config.servers)
        # A task, for the client swallows a cancellation in places; waiting for a task can be cancelled.
        connecting = asyncio.create_task(self._connect(options))
        try:
            subject = await self._first(connecting, seconds)
            self.heard()
            self._beating = asyncio.create_task(
                self._beat(subject), name="mtenant-events heartbeat"
            )
        except BaseException:
            await self._give_up(connecting)
            raise

    async def close(self) -> None:
        """Send what waits, and close; within `drain_timeout`. A second time does nothing."""
        if self._closing:
            return
        self._closing = True
        if self._beating is not None:
            self._beating.cancel()
        seconds = self._config.drain_timeout.total_seconds()
        try:
            if self.client.is_connected:
                # Not under a timeout: `drain` swallows a cancellation.
                draining = asyncio.create_task(self.client.drain())
                await asyncio.wait({draining}, timeout=seconds)
                draining.cancel()
        finally:
            await self._end()
            self._tell(self._on_loss)
            self._returned.set()

    async def _connect(self, options: dict[str, Any]) -> str:
        """Connect, and listen to heartbeats; return their subject."""
        await self.client.connect(**options)
        subject = self.client.new_inbox()
        subscription = await self.client.subscribe(subject, cb=not_direct)
        self.client.receive(subscription, self._beaten)
        return subject

    async def _first(self, connecting: asyncio.Task[str], seconds: float) -> str:
        """Wait for the first connection; the client itself would try for ever."""
        refused = asyncio.create_task(self._refused.wait())
        try:
            await asyncio.wait(
                {connecting, refused}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            refused.cancel()
        if not connecting.done():
            # The server closes what it refuses: the reset that may follow says less.
            why = self._refusal or self._problem
            raise EventsUnavailable(internal=f"no connection to NATS: {why}")
        try:
            return connecting.result()
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            raise EventsUnavailable(internal=f"no connection to NATS: {exc}") from exc

    async def _end(self) -> None:
        closing = asyncio.create_task(self.client.close())
        await asyncio.wait({closing}, timeout=1.0)
        closing.cancel()

    async def _give_up(self, connecting: asyncio.Task[str]) -> None:
        self._closing = True
        connecting.cancel()
        await asyncio.wait({connecting})
        await self._end()

    async def _beat(self, subject: str) -> None:
        """Ask for a sign of life, and connect anew where there is none.

        Not with the client's `flush`: a pong that comes after its timeout ends the client's reading.
        A connection that reads no more, or whose server is silent, is seen here before the client sees it.
        """
        while True:
            await asyncio.sleep(BEAT)
            if not self.client.is_connected:
                continue
            if self.heartbeat_age > DEAF:
                self._problem = f"no answer for {self.heartbeat_age:.1f} s"
                logger.warning("NATS is silent, connecting again: %s", self._problem)
                self.heard()
                self._tell(self._on_loss)
                await self.client.force_reconnect()
                continue
            with suppress(nats.errors.Error):
                await self.client.publish(subject)

    def _beaten(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        self.heard()

    def _options(self) -> dict[str, Any]:
        config = self._config
        user, password, token = login_of(config)
        return {
            "servers": [without_login(url) for url in config.servers],
            "name": config.source,
            "user": user,
            "password": password,
            "token": token,
            "user_credentials": readable("NATS_CREDENTIALS_FILE", config.credentials_file),
            "tls": tls_context(config),
            "connect_timeout": config.connect_timeout.total_seconds(),
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _FIRST_WAIT,
            "reconnect_to_server_handler": self._choose,
            "ping_interval": 10,
            "max_outstanding_pings": 2,
            "drain_timeout": config.drain_timeout.total_seconds(),
            "pending_size": _PENDING,
            "flush_timeout": config.publish_timeout.total_seconds(),
            "error_cb": self._complained,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed_by_client,
            "lame_duck_mode_cb": self._lame_duck,
        }

    def _choose(self, servers: list[Server], info: dict[str, Any]) -> tuple[Server, float]:
        """Return the server that was tried least, and how long to wait before."""
        return min(servers, key=lambda server: server.reconnects), next(self._waits)

    async def _complained(self, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"[:300]
        if said != self._problem:
            logger.warning("NATS: %s", said)
        self._problem = said
        if "authorization" in said.lower():
            self._refusal = said
            self._refused.set()

    async def _disconnected(self) -> None:
        if not self.closed:
            logger.warning("the connection to NATS is lost: %s", self._problem)
            self._tell(self._on_loss)

    async def _reconnected(self) -> None:
        logger.info("connected to NATS again")
        self._waits = _waits()
        self._problem = "no problem since the last connection was made"
        self.heard()
        self._returned.set()
        self._tell(self._on_return)

    async def _closed_by_client(self) -> None:
        if self._closing:
            return
        self._dead = True
        self._problem = f"{type(self.client.last_error).__name__}: {self.client.last_error}"[:300]
        logger.error("the connection to NATS is closed for ever: %s", self._problem)
        self._returned.set()
        self._tell(self._on_loss)

    async def _lame_duck(self) -> None:
        logger.info("the NATS server is about to stop; connecting to another")
        await self.client.force_reconnect()

    def _tell(self, callbacks: list[Callback]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of the connection failed")


class _Client(DirectClient):
    """The client with two faults of nats-py mended, by methods that it does not call public.

    It would log in without TLS to a `tls://` server that offers none; and it would leave the socket of
    each attempt that a server has refused.
    """

    async def _connect_to_server(self, s: Any) -> None:
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]  # it has no annotations
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server = self._current_server
        wanted = server is not None and server.uri.scheme == "tls"
        if initial_connection and wanted and not info.get("tls_required"):
            # Whoever sits between could have taken it out of the server's greeting.
            raise nats.errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


def _waits() -> Iterator[float]:
    """Yield how long to wait before each attempt: at once, but not all programs at the same moment."""
    yield random.uniform(0, _FIRST_WAIT)  # noqa: S311 - no secret
    longest = backoff.expo(factor=_FIRST_WAIT * 2, max_value=LONGEST_WAIT)
    next(longest)  # a generator of that library begins with nothing
    for seconds in longest:
        yield seconds / 2 + backoff.full_jitter(seconds / 2)
