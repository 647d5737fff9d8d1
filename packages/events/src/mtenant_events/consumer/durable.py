"""A consumer in the stream: made, brought up to date, renamed, made again where it was."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    ReplayPolicy,
)
from nats.js.errors import NotFoundError
from nats.js.manager import JetStreamManager

from mtenant_events.consumer.abc import ConsumerSpec

_UNLIMITED: Final = -1
_EPHEMERAL_AGE: Final = 300.0  # seconds without its process after which the server removes it
_MAX_WAITING: Final = 512


class Durable:
    """One consumer of a stream.

    It remembers how far everybody has settled. When the consumer is deleted while it is in use, it is
    made again from there: events that were settled since are delivered a second time, and none is left out.

    Args:
        manager: JetStream's API.
        stream: The stream.
        spec: What the consumer is like.

    Attributes:
        spec: See above.
    """

    def __init__(self, manager: JetStreamManager, stream: str, spec: ConsumerSpec) -> None:
        self._manager = manager
        self._stream = stream
        self.spec = spec
        self._floor: int | None = None  # None: it has never been there while we looked
        self._stream_created: datetime | None = None

    async def ensure(self) -> None:
        """Make it if it is missing; change what it has otherwise than the program wants.

        `pull_subscribe` of nats-py would leave an old consumer as it is. To create it again under its
        name changes it, but for where it began, which cannot be changed and is left.
        """
        stream = await self._manager.stream_info(self._stream)
        if self._stream_created not in {None, stream.created} or (
            self._floor is not None and self._floor > stream.state.last_seq
        ):
            self._floor = None  # another stream under the name: its events are all new
        self._stream_created = stream.created
        there = await self._find(self.spec.name)
        if there is None:
            config = await self._beginning()
        else:
            config = replace(
                self._config(),
                deliver_policy=there.config.deliver_policy,
                opt_start_seq=there.config.opt_start_seq,
                opt_start_time=there.config.opt_start_time,
            )
        self._note(await self._manager.add_consumer(self._stream, config))
        if self.spec.was is not None:
            await self._retire(self.spec.was)

    async def look(self) -> None:
        """Note how far everybody has settled."""
        self._note(await self._manager.consumer_info(self._stream, self.spec.name))

    async def delete(self) -> None:
        """Delete it."""
        with suppress(NotFoundError):
            await self._manager.delete_consumer(self._stream, self.spec.name)

    def _note(self, info: ConsumerInfo) -> None:
        self._floor = 0 if info.ack_floor is None else info.ack_floor.stream_seq

    async def _find(self, name: str) -> ConsumerInfo | None:
        try:
            info: ConsumerInfo = await self._manager.consumer_info(self._stream, name)
        except NotFoundError:
            return None
        return info

    async def _beginning(self) -> ConsumerConfig:
        """Return the settings of a consumer that is not there, with where it begins."""
        floor = self._floor
        if floor is None and self.spec.was is not None:
            old = await self._find(self.spec.was)
            if old is not None and old.ack_floor is not None:
                floor = old.ack_floor.stream_seq
        config = self._config()
        if floor is None:
            return config
        return replace(
            config,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=floor + 1,
        )

    async def _retire(self, name: str) -> None:
        """Delete the consumer of the old name, once no process of the old release asks it for events."""
        old = await self._find(name)
        if old is not None and not old.num_waiting:
            await self._manager.delete_consumer(self._stream, name)

    def _config(self) -> ConsumerConfig:
        spec = self.spec
        return ConsumerConfig(
            name=spec.name,
            durable_name=None if spec.ephemeral else spec.name,
            deliver_policy=DeliverPolicy.NEW if spec.deliver == "new" else DeliverPolicy.ALL,
            # The server's default is to expect no acknowledgement at all.
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=spec.ack_wait,
            # Naks of a graceful stop count as deliveries, so a limit would be used up by them. And no
            # `backoff`: its first step would replace `ack_wait`.
            max_deliver=_UNLIMITED,
            max_ack_pending=spec.max_ack_pending,
            max_waiting=_MAX_WAITING,
            filter_subjects=list(spec.subjects),
            replay_policy=ReplayPolicy.INSTANT,
            inactive_threshold=_EPHEMERAL_AGE if spec.ephemeral else None,
            mem_storage=True if spec.ephemeral else None,
            num_replicas=1 if spec.ephemeral else None,
        )
