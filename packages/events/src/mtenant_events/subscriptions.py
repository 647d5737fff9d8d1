"""Subscriptions: which handler is for which events, declared where the handler stands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from mtenant_events.event import check_type
from mtenant_events.registry import Registry

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A handler and what it wants; `Subscriptions.on` makes it, and says what each part is."""

    name: str
    types: tuple[str, ...]
    registry: Registry
    handler: Callable[..., Awaitable[object]]
    wants_tx: bool
    ordering: Literal["key"] | None
    broadcast: bool
    was: str | None
    deliver: Literal["all", "new"]
    concurrency: int
    max_attempts: int
    timeout: float
    first_delay: float
    ack_wait: float


class Subscriptions:
    """Handlers of a part of a program; nothing happens before a bus includes them.

    >>> from mtenant_events import Event, Subscriptions
    >>> subs = Subscriptions()
    >>> @subs.on("deal.closed_won", name="log_activity")
    ... async def log_activity(event: Event[dict[str, object]]) -> None:
    ...     print(event.tenant, event.data)
    >>> [subscription.name for subscription in subs]
    ['log_activity']
    """

    def __init__(self) -> None:
        self._subscriptions: dict[str, Subscription] = {}

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._subscriptions.values())

    def __len__(self) -> int:
        return len(self._subscriptions)

    def on(
        self,
        *payloads: type[Any] | str,
        name: str,
        ordering: Literal["key"] | None = None,
        broadcast: bool = False,
        was: str | None = None,
        deliver: Literal["all", "new"] = "all",
        concurrency: int = 16,
        max_attempts: int = 5,
        timeout: float = 60.0,
        first_delay: float = 1.0,
        ack_wait: float = 30.0,
    ) -> Callable[[H], H]:
        """Declare a handler: `async def handler(event)`, or `async def handler(event, tx)`.

        It is called once for each event, and again if it raises. Only one that asks for `tx` has its
        effect exactly once: the note that the event is handled commits with what it writes there.
        It may raise `Retry`, `Permanent` and `Skip`; any other exception is an attempt that failed.

        Args:
            *payloads: Classes with a name (`event_type`), or names of types, whose data is then what
                JSON has for it.
            name: Of the durable consumer, after the service's: `communication__log_activity`.
            ordering: "key": one event of a partition at a time, in their order, over all processes. An event
                that fails holds the others of its partition, until it is handled or dead-lettered.
            broadcast: Each process gets each event that comes while it runs, from a consumer of its own.
                Such a handler has no `tx`, and what it fails to handle is logged, not dead-lettered.
            was: The name before: the place in the stream is taken over from it, and events handled
                under it are not handled again, if the handler asks for `tx`.
            deliver: Where a consumer begins that is new: at the oldest event that the stream keeps, or
                at the next ("new").
            concurrency: How many events this process handles at a time. One tenant has at most three
                quarters of it.
            max_attempts: After how many exceptions an event is dead-lettered.
            timeout: Seconds until a handler is cancelled, which is an attempt that failed.
            first_delay: Seconds until the second attempt; doubled for each further, to 60 at most, and
                of that a random part between a half and the whole.
            ack_wait: Seconds until the event of a process that has died is delivered again. While
                a handler runs, the server is told so three times in this time.

        Raises:
            TypeError: The handler is not async or has other parameters; a class has no name.
            ValueError: A name is taken or breaks its rule; a number makes no sense; two options
                exclude each other.
        """
        registry, types = Registry(), []
        for payload in payloads:
            types.append(check_type(payload) if isinstance(payload, str) else registry.add(payload))

        def declare(handler: H) -> H:
            subscription = Subscription(
                name=name,
                types=tuple(dict.fromkeys(types)),
                registry=registry,
                handler=handler,
                wants_tx=_wants_tx(handler),
                ordering=ordering,
                broadcast=broadcast,
                was=was,
                deliver="new" if broadcast else deliver,
                concurrency=concurrency,
                max_attempts=max_attempts,
                timeout=timeout,
                first_delay=first_delay,
                ack_wait=ack_wait,
            )
            _check(subscription)
            if name in self._subscriptions:
                raise ValueError(f"there is a handler named {name!r} already: its place is in use")
            self._subscriptions[name] = subscription
            return handler

        return declare


def check_name(what: str, name: str) -> str:
    """Return a name of a service or handler as it is; two of them make the name of a consumer.

    Raises:
        ValueError: It is not lower case words with single underscores between them: a double one
            stands between service and handler.
    """
    if len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{what} {name!r:.100}: use at most {_LONGEST_NAME} of a-z and 0-9, beginning with a letter,"
            " with single underscores between words"
        )
    return name


def _wants_tx(handler: Callable[..., object]) -> bool:
    called = getattr(handler, "__call__", handler)  # noqa: B004 - an object's async __call__
    if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)):
        raise TypeError(f"{handler!r} is not async: write `async def`")
    event, *others = inspect.signature(handler).parameters.values() or (None,)
    if event is None or event.kind is event.KEYWORD_ONLY:
        raise TypeError(f"{handler!r} takes no event")
    variable = {event.VAR_POSITIONAL, event.VAR_KEYWORD}
    needed = [
        one.name
        for one in others
        if one.default is one.empty and one.kind not in variable and one.name != "tx"
    ]
    if needed:
        raise TypeError(
            f"{handler!r} takes {', '.join(needed)}: a handler is given `event`, and `tx`"
        )
    return any(one.name == "tx" for one in others)


def _check(subscription: Subscription) -> None:
    check_name("handler", subscription.name)
    if subscription.was is not None:
        check_name("handler", subscription.was)
    if not subscription.types:
        raise ValueError(f"handler {subscription.name!r} is for no type of event")
    numbers = ("concurrency", "max_attempts", "timeout", "first_delay", "ack_wait")
    for name in numbers:
        if not 0 < getattr(subscription, name) < float("inf"):
            raise ValueError(f"{name} of {subscription.name!r} must be more than 0")
    if subscription.ordering not in {None, "key"}:
        raise ValueError(f"ordering is None or 'key', not {subscription.ordering!r}")
    if subscription.broadcast and (subscription.wants_tx or subscription.ordering):
        raise ValueError(
            f"{subscription.name!r} is a broadcast: it has neither an order nor a tx, for each"
            " process handles each event"
        )
