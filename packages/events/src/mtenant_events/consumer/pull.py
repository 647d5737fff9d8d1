"""Consumers on NATS: a pull loop of our own, which notices what goes wrong and heals it.

`fetch` of nats-py swallows that its consumer was deleted, waits in vain for the whole of its timeout, and
leaves its subscription so that a drain hangs. Here the server is asked by its own API, with a heartbeat
(NATS documentation, JetStream wire API, `CONSUMER.MSG.NEXT`), and all that comes goes to one callback.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import nats.errors
from nats.aio.subscription import Subscription

from mtenant_events.abc import Transport
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.abc import Clock, ConsumerSpec, Delivery
from mtenant_events.consumer.durable import Durable
from mtenant_events.direct_client import (
    DirectClient,
    not_direct,
    parse_headers,
    parse_status,
)
from mtenant_events.errors import TopologyConflict
from mtenant_events.telemetry import Telemetry
from mtenant_events.translation import translated

HEARTBEAT: Final = 5.0
"""Seconds after which the server says that it is there, when it has nothing else to say."""

EXPIRES: Final = 30.0
"""Seconds that the server waits for messages to answer a request with."""

LOOK: Final = 2.0
"""Seconds between two looks at how far everybody has settled."""

_FIRST_WAIT: Final = 0.05  # seconds until what broke is tried again
_LONGEST_WAIT: Final = 3.0
_DRAIN: Final = 3.0
_NANOSECONDS: Final = 1_000_000_000
_PENDING: Final = "Nats-Pending-Messages"
_BEAT, _OVER = "100", frozenset({"404", "408"})
_NORMAL: Final = ("Batch Completed", "Message Size Exceeds MaxBytes")

logger = logging.getLogger(__name__)


class NatsGround:
    """What consumers stand on: a connection to NATS.

    Args:
        client: The client, which connects again by itself.
        config: The settings of the bus.
        transport: Publishes dead letters.
        telemetry: Of the bus.
    """

    def __init__(
        self, client: DirectClient, config: EventsConfig, transport: Transport, telemetry: Telemetry
    ) -> None:
        self.config = config
        self.transport = transport
        self.telemetry = telemetry
        self.clock: Clock = LoopClock()
        self._client = client
        self._sources: WeakSet[PullSource] = WeakSet()

    def open(
        self, spec: ConsumerSpec, window: int, receive: Callable[[Delivery], None]
    ) -> PullSource:
        """Make the consumer if it is not there, hand over what comes, and heal what breaks."""
        source = PullSource(
            self._client,
            Durable(self._client.jsm(), self.config.stream, spec),
            next_subject=f"$JS.API.CONSUMER.MSG.NEXT.{self.config.stream}.{spec.name}",
            window=window,
            receive=receive,
        )
        self._sources.add(source)
        return source

    def reconnected(self) -> None:
        """Ask for messages again at once: what was asked for is forgotten with the connection."""
        for source in self._sources:
            source.lose("the connection was lost")


class LoopClock:
    """Real time."""

    def now(self) -> float:
        """Return its seconds."""
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


class _LostError(Exception):
    """What was asked for will not come."""


class PullDelivery:
    """A message of a stream, delivered to a consumer."""

    __slots__ = ("_reply", "_settled", "_source", "body", "count", "headers", "sequence", "subject")

    def __init__(
        self, source: PullSource, subject: str, reply: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        # $JS.ACK.<stream>.<consumer>.<count>.<sequence>..., or with two words more before the
        # stream (NATS ADR-15).
        words = reply.split(".")
        first = 4 if len(words) == 9 else 6
        self.count = int(words[first])
        self.sequence = int(words[first + 1])
        self.subject = subject
        self.headers = headers
        self.body = body
        self._source = source
        self._reply = reply
        self._settled = False

    async def ack(self) -> None:
        """It is handled."""
        self._settle(b"+ACK")

    async def nak(self, delay: float) -> None:
        """Deliver it again after `delay` seconds; a nak without one is delivered at once."""
        nanoseconds = int(delay * _NANOSECONDS)
        self._settle(b'-NAK {"delay": %d}' % nanoseconds if nanoseconds else b"-NAK")

    async def term(self, reason: str) -> None:
        """Never deliver it again; the server tells the reason in its advisory."""
        self._settle(b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        """It is being handled: begin its `ack_wait` anew."""
        if not self._settled:
            self._source.reply(self._reply, b"+WPI")

    def _settle(self, payload: bytes) -> None:
        if not self._settled:
            self._settled = True
            self._source.reply(self._reply, payload)
            self._source.released()


class PullSource:
    """Asks the server for the messages of one consumer; see `NatsGround.open`."""

    def __init__(
        self,
        client: DirectClient,
        durable: Durable,
        *,
        next_subject: str,
        window: int,
        receive: Callable[[Delivery], None],
    ) -> None:
        self._client = client
        self._durable = durable
        self._spec = durable.spec
        self._next = next_subject
        # Where the server gives out one at a time, the next waits for what is said of this one.
        self._linger = self._spec.max_ack_pending > 1
        self._window = window
        self._receive = receive
        self._inbox = f"{client.new_inbox()}."
        self._round = 0  # of requests; what is said of an older one is of no interest
        self._asked = 0
        self._held = 0
        self._settled = 0
        self._heard = monotonic()
        self._looked = monotonic()
        self._problem: str | None = None
        self._conflict: TopologyConflict | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()  # ready, or refused
        self._subscription: Subscription | None = None
        self._stopping = False
        self.ready = False
        self._task = asyncio.create_task(self._run(), name=f"{self._spec.name} pull")

    @property
    def heartbeat_age(self) -> float:
        """Seconds since anything was heard; 0 while nothing is asked for, as everything is in hand."""
        return monotonic() - self._heard if self._asked or not self.ready else 0.0

    async def until_ready(self) -> None:
        """Return when the consumer is there and was asked for messages.

        Raises:
            TopologyConflict: It is there, and cannot become what is asked for.
        """
        while not self.ready:
            if self._conflict is not None:
                raise self._conflict
            self._changed.clear()
            await self._changed.wait()

    def lose(self, problem: str) -> None:
        """Forget what was asked for, and ask again."""
        self._problem = problem
        self._wake.set()

    async def stop(self) -> None:
        """Ask for nothing more; what comes until this returns is still handed over."""
        # A flag too: `wait_for`, in nats-py and below it, may swallow a cancellation (CPython 86296).
        self._stopping = True
        self._wake.set()
        self._task.cancel()
        await asyncio.wait({self._task})
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._client.is_connected:
            # Not within `asyncio.timeout`: to cancel a flush of nats-py ends its reader.
            draining = asyncio.ensure_future(_quietly(subscription.drain()))  # type: ignore[no-untyped-call]  # of nats-py
            await asyncio.wait({draining}, timeout=_DRAIN)
        if self._spec.ephemeral and self._client.is_connected:
            await _quietly(self._durable.delete())

    def reply(self, subject: str, payload: bytes) -> None:
        """Tell the server of a message; if that fails, the message is delivered again."""
        try:
            self._client.answer(subject, payload, linger=self._linger)
        except nats.errors.Error as exc:
            logger.debug("%s: %s was not told: %s", self._spec.name, payload[:5], exc)

    def released(self) -> None:
        """Note that a message is out of hand: there is room for another."""
        self._held -= 1
        self._settled += 1
        if self._room():
            self._wake.set()

    async def _run(self) -> None:
        wait = _FIRST_WAIT
        while not self._stopping:
            try:
                if self._client.is_connected:
                    await self._serve()
                self.ready = False
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LONGEST_WAIT)
                self._wake.clear()
            except (_LostError, nats.errors.Error, OSError, TimeoutError) as exc:
                wait = _FIRST_WAIT if self.ready else min(wait * 2, _LONGEST_WAIT)
                self._fail(exc)
                await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311 - no secret
            except Exception:
                self.ready = False
                logger.exception("%s: a fault of its own", self._spec.name)
                await asyncio.sleep(_LONGEST_WAIT)

    def _fail(self, exc: Exception) -> None:
        if self.ready:
            logger.warning("%s: %s; asking again", self._spec.name, exc)
        else:
            logger.info("%s is not there yet: %s: %s", self._spec.name, type(exc).__name__, exc)
        self.ready = False
        conflict = translated(exc)
        if isinstance(conflict, TopologyConflict):
            self._conflict = conflict
            self._changed.set()

    async def _serve(self) -> None:
        """Make the consumer, and ask for messages until something goes wrong."""
        self._problem = None
        await self._durable.ensure()
        if self._subscription is None:
            self._subscription = await self._client.subscribe(
                f"{self._inbox}*",
                cb=not_direct,
            )
            self._client.receive(self._subscription, self._on_message)
        self._round += 1
        self._asked = 0
        self._heard = self._looked = monotonic()
        while self._client.is_connected and not self._stopping:
            if self._problem is not None:
                raise _LostError(self._problem)
            if room := self._room():
                await self._ask(room)
            if not self.ready:
                self.ready, self._conflict = True, None
                self._changed.set()
                logger.info("%s is ready", self._spec.name)
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._wake.wait()
            if self._asked and monotonic() - self._heard > 2 * HEARTBEAT:
                raise _LostError("no heartbeat")
            if self._settled and monotonic() - self._looked > LOOK:
                self._looked, self._settled = monotonic(), 0
                await self._durable.look()

    def _room(self) -> int:
        """Return how many messages to ask for: at least half a window, so that requests are few."""
        room = self._window - self._held - self._asked
        return room if 2 * room >= self._window else 0

    async def _ask(self, batch: int) -> None:
        request = {
            "batch": batch,
            "expires": int(EXPIRES * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT * _NANOSECONDS),
        }
        if not self._asked:
            self._heard = monotonic()  # nobody has promised a heartbeat before
        self._asked += batch
        reply = f"{self._inbox}{self._round}"
        await self._client.publish(self._next, json.dumps(request).encode(), reply=reply)

    def _on_message(self, subject: str, reply: str, body: bytes, block: bytes) -> None:
        self._heard = monotonic()
        # By its subject, not by a header: that could be anybody's.
        if subject.startswith(self._inbox):
            self._on_status(subject, block)
            return
        headers = parse_headers(block) if block else {}
        delivery = PullDelivery(self, subject, reply, body, headers)
        if self._asked:
            self._asked -= 1
        self._held += 1
        self._receive(delivery)
        if self._room():
            self._wake.set()

    def _on_status(self, subject: str, block: bytes) -> None:
        status, description = parse_status(block)
        if status in {"", _BEAT} or subject != f"{self._inbox}{self._round}":
            return
        if status in _OVER or description.startswith(_NORMAL):
            left = parse_headers(block).get(_PENDING, "")
            self._asked = max(0, self._asked - int(left)) if left.isdigit() else 0
            self._wake.set()
        else:
            # 409: the consumer was deleted, another server leads, or this one shuts down; 503: nobody.
            self.lose(f"{status} {description}".strip())


async def _quietly(ending: Coroutine[Any, Any, object]) -> None:
    """Do something at the end, where nobody would hear of its failure."""
    with suppress(nats.errors.Error, OSError, TimeoutError):
        await ending
