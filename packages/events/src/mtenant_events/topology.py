"""The streams: made where they are missing, and changed only where nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig
from nats.js.errors import APIError, NotFoundError
from nats.js.manager import JetStreamManager

from mtenant_errors import AppError
from mtenant_events.config import EventsConfig
from mtenant_events.errors import TopologyConflict
from mtenant_events.tenant_id import check_tenant_id
from mtenant_events.translation import translated

_OVERLAP: Final = 10065  # nats-server's number: subjects overlap with an existing stream
_MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """How a stream stands.

    Attributes:
        name: Its name.
        exists: Whether it is there.
        messages: How many messages it has.
        bytes: How large it is.
        consumers: How many consumers it has.
        replicas: On how many servers it is kept.
        leader: The server that leads it; empty where there is only one.
        differences: What is not as the settings ask; `Topology.ensure` mends it, or says why not.
    """

    name: str
    exists: bool
    messages: int = 0
    bytes: int = 0
    consumers: int = 0
    replicas: int = 0
    leader: str = ""
    differences: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether it is there, as the settings ask."""
        return self.exists and not self.differences


@dataclass(frozen=True, slots=True)
class Step:
    """What `ensure` did to a stream.

    Attributes:
        stream: Which.
        done: `made`, `changed` or `kept`.
        differences: What was changed.
    """

    stream: str
    done: str
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f": {'; '.join(self.differences)}" if self.differences else ""
        return f"{self.stream} {self.done}{what}"


class Topology:
    """The stream of events and that of dead letters.

    Args:
        client: A connected client.
        config: What the streams are like.
    """

    def __init__(self, client: Client, config: EventsConfig) -> None:
        self._manager: JetStreamManager = client.jsm()
        self._config = config

    async def ensure(self) -> list[Step]:
        """Make the streams that are missing, and change those that are otherwise than the settings ask.

        A second time nothing happens. What somebody else has set, and the settings here do not know,
        such as placement or mirrors, stays. Nothing is changed in any stream if one of them cannot be.

        Returns:
            What was done to each.

        Raises:
            TopologyConflict: A change would lose messages, or make losing them more likely; or a
                stream that is not ours has the subjects.
            StreamUnavailable: JetStream does not answer.
        """
        wanted = _streams(self._config)
        with _translating():
            found = [await self._find(stream) for stream in wanted]
            for stream, there in zip(wanted, found, strict=True):
                if there is not None:
                    _check(there, stream)
            return [
                await self._apply(stream, there)
                for stream, there in zip(wanted, found, strict=True)
            ]

    async def status(self) -> list[StreamStatus]:
        """Return how the streams stand; nothing is changed.

        Raises:
            StreamUnavailable: JetStream does not answer.
        """
        with _translating():
            return [await self._status(stream) for stream in _streams(self._config)]

    async def purge(self, tenant: str) -> int:
        """Delete a tenant's events and dead letters for good, read or not; for when a tenant is deleted.

        What the outbox holds yet is published later: purge again when it is empty of that tenant.

        Args:
            tenant: Whose.

        Returns:
            How many messages there were.

        Raises:
            InvalidTenantId: It is no tenant's id: with a star in it, it would be everybody's.
            StreamUnavailable: JetStream does not answer.
        """
        check_tenant_id(tenant)
        prefix, config = self._config.prefix, self._config
        purged = 0
        with _translating():
            for stream, subject in (
                (config.stream, f"{prefix}.evt.{tenant}.>"),
                (config.stream, f"{prefix}.replay.*.{tenant}.>"),
                (config.dead_letter_stream, f"{prefix}.dlq.*.{tenant}.>"),
            ):
                with suppress(NotFoundError):
                    info = await self._manager.stream_info(stream, subjects_filter=subject)
                    purged += sum((info.state.subjects or {}).values())
                    await self._manager.purge_stream(stream, subject=subject)
        return purged

    async def _find(self, stream: StreamConfig) -> StreamConfig | None:
        try:
            return (await self._manager.stream_info(str(stream.name))).config
        except NotFoundError:
            return None

    async def _apply(self, stream: StreamConfig, there: StreamConfig | None) -> Step:
        name = str(stream.name)
        if there is None:
            # Another program may make the same one now: the server takes that for the same request.
            try:
                await self._manager.add_stream(stream)
            except APIError as exc:
                if exc.err_code == _OVERLAP:
                    raise await self._overlap(stream) from exc
                raise
            return Step(name, "made")
        differences = _differences(there, stream)
        if not differences:
            return Step(name, "kept")
        await self._manager.update_stream(there.evolve(**_ours(stream)))
        return Step(name, "changed", differences)

    async def _overlap(self, stream: StreamConfig) -> TopologyConflict:
        """Return the error for subjects that another stream has, with its name."""
        others = set()
        for subject in stream.subjects or []:
            with suppress(NotFoundError):
                others.add(await self._manager.find_stream_name_by_subject(subject))
        return TopologyConflict(
            what=f"stream {stream.name} cannot be made, for the stream {', '.join(sorted(others))}"
            f" has subjects of {', '.join(stream.subjects or [])}. Choose another"
            " NATS_SUBJECT_PREFIX; or name that stream by NATS_STREAM, if it is the one"
        )

    async def _status(self, stream: StreamConfig) -> StreamStatus:
        name = str(stream.name)
        try:
            info = await self._manager.stream_info(name)
        except NotFoundError:
            return StreamStatus(name, exists=False, differences=(_MISSING,))
        return StreamStatus(
            name,
            exists=True,
            messages=info.state.messages,
            bytes=info.state.bytes,
            consumers=info.state.consumer_count,
            replicas=info.config.num_replicas or 1,
            leader=(info.cluster.leader or "") if info.cluster else "",
            differences=_differences(info.config, stream),
        )


def _streams(config: EventsConfig) -> list[StreamConfig]:
    """Return the streams that the settings ask for."""

    def stream(
        name: str, subjects: list[str], max_age: timedelta, window: timedelta
    ) -> StreamConfig:
        return StreamConfig(
            name=name,
            subjects=subjects,
            # Not a work queue: those were seen to lose messages with a limit of deliveries
            # (nats-server issue 7817), and whoever comes later wants to read what was before.
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=config.replicas,
            max_age=max_age.total_seconds(),
            max_bytes=int(config.max_bytes or -1),
            # A full stream says so. The other policy would drop what nobody has read.
            discard=DiscardPolicy.NEW,
            duplicate_window=window.total_seconds(),
            max_msg_size=int(config.max_payload),
            allow_direct=True,
            compression=StoreCompression.S2,
        )

    prefix = config.prefix
    return [
        stream(
            config.stream,
            [f"{prefix}.evt.>", f"{prefix}.replay.>"],
            config.max_age,
            config.duplicate_window,
        ),
        stream(
            config.dead_letter_stream,
            [f"{prefix}.dlq.>"],
            config.dead_letter_max_age,
            min(config.duplicate_window, config.dead_letter_max_age),
        ),
    ]


_OURS: Final = (
    "subjects",
    "retention",
    "storage",
    "num_replicas",
    "max_age",
    "max_bytes",
    "discard",
    "duplicate_window",
    "max_msg_size",
    "allow_direct",
    "compression",
)


def _ours(stream: StreamConfig) -> dict[str, Any]:
    return {name: getattr(stream, name) for name in _OURS}


def _differences(there: StreamConfig, wanted: StreamConfig) -> tuple[str, ...]:
    return tuple(
        f"{name} is {_shown(getattr(there, name))}, not {_shown(value)}"
        for name, value in _ours(wanted).items()
        if _comparable(getattr(there, name)) != _comparable(value)
    )


def _check(there: StreamConfig, wanted: StreamConfig) -> None:
    """Refuse what would lose messages.

    Raises:
        TopologyConflict: With everything that is refused.
    """
    refused = []
    for name, what in (
        ("retention", "the server cannot change it"),
        ("storage", "the server cannot change it"),
        ("discard", "unread events would be dropped"),
    ):
        now, then = getattr(there, name), getattr(wanted, name)
        # From OLD to NEW is safe; what is refused is what this package never asks for, or cannot be had.
        if now != then and name != "discard":
            refused.append(f"{name} is {_shown(now)}, not {_shown(then)}: {what}")
    if gone := sorted(set(there.subjects or []) - set(wanted.subjects or [])):
        refused.append(f"subjects {', '.join(gone)} would no longer be stored")
    for name, what in (
        ("max_age", "events would be deleted now"),
        ("max_bytes", "the stream would be full now"),
        ("duplicate_window", "events that are published again would be stored twice"),
        ("num_replicas", "events would be kept on fewer servers"),
        ("max_msg_size", "events that are accepted today would be refused"),
    ):
        now, then = _limit(name, getattr(there, name)), _limit(name, getattr(wanted, name))
        if then < now:
            refused.append(f"{name} is {_shown(now)}, not {_shown(then)}: {what}")
    if there.sealed:
        refused.append("it is sealed")
    if there.mirror is not None:
        refused.append("it is a mirror")
    if refused:
        raise TopologyConflict(
            what=f"stream {there.name}: {'; '.join(refused)}."
            " Change the settings to what is there, or change the stream by hand"
        )


def _limit(name: str, value: Any) -> float:
    """Return a limit as a number; none at all is infinite."""
    unlimited = name in {"max_age", "max_bytes", "max_msg_size"} and (value or 0) <= 0
    return float("inf") if unlimited else float(value or 0)


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(value)
    if value is None or value == 0:
        return -1  # how the server writes that there is no limit
    return value


def _shown(value: Any) -> str:
    if value is None or value in (-1, float("inf")):
        return "unlimited"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(getattr(value, "value", value))


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        error = None if isinstance(exc, AppError) else translated(exc)
        if error is None:
            raise
        raise error from exc
