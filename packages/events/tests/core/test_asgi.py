"""The bus of an ASGI app: there before the app starts, closed after it has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mtenant_events import Event, EventBus, EventsConfig, EventsUnavailable
from mtenant_events.asgi import BusMiddleware

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


async def serve(app: App, *, stop: bool = True) -> tuple[list[Message], dict[str, Any]]:
    """Do what a server does: start the app, and stop it."""
    said: list[Message] = []
    state: dict[str, Any] = {}
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        said.append(message)

    await app({"type": "lifespan", "state": state, "asgi": {"version": "3.0"}}, receive, send)
    return said, state


class Events:
    """Opens something, and notes in which order things happen."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self.log.append("opened")
        yield "the bus"
        self.log.append("closed")


def kinds(said: list[Message]) -> list[str]:
    return [message["type"] for message in said]


COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_bus_is_there_before_the_app_and_after_it() -> None:
    events = Events()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        assert scope["state"]["events"] == "the bus"
        events.log.append("app started")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        events.log.append("app stopped")
        await send({"type": "lifespan.shutdown.complete"})

    said, state = asyncio.run(serve(BusMiddleware(app, events=events)))

    assert kinds(said) == COMPLETE
    assert events.log == ["opened", "app started", "app stopped", "closed"]
    assert state["events"] == "the bus"


async def knows_no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope["type"])


async def ignores_lifespan(scope: Any, receive: Any, send: Any) -> None:
    return


@pytest.mark.parametrize("app", [knows_no_lifespan, ignores_lifespan])
def test_an_app_without_a_lifespan_has_a_bus_too(app: App) -> None:
    events = Events()
    said, state = asyncio.run(serve(BusMiddleware(app, events=events)))

    assert kinds(said) == COMPLETE
    assert events.log == ["opened", "closed"]
    assert state["events"] == "the bus"


def test_a_bus_that_cannot_be_opened_stops_the_start_without_a_password() -> None:
    @asynccontextmanager
    async def unavailable() -> AsyncIterator[None]:
        raise EventsUnavailable(internal="no connection to NATS")
        yield

    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise RuntimeError("nats://u:hunter2@h")
        yield

    for events, text in (
        (unavailable, "EventsUnavailable: no connection to NATS"),
        (broken, "RuntimeError"),
    ):
        said, _ = asyncio.run(serve(BusMiddleware(knows_no_lifespan, events=events)))
        assert said == [{"type": "lifespan.startup.failed", "message": text}]


def test_an_app_that_fails_to_start_closes_the_bus() -> None:
    events = Events()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    said, _ = asyncio.run(serve(BusMiddleware(app, events=events)))

    assert kinds(said) == ["lifespan.startup.failed"]
    assert events.log == ["opened", "closed"]


def test_a_bus_that_cannot_be_closed_is_told() -> None:
    @asynccontextmanager
    async def events() -> AsyncIterator[None]:
        yield
        raise RuntimeError("no")

    said, _ = asyncio.run(serve(BusMiddleware(ignores_lifespan, events=events)))

    assert kinds(said) == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


def test_requests_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def request() -> None:
        await BusMiddleware(app, events=Events())({"type": "http"}, None, None)  # type: ignore[arg-type]  # it passes them

    asyncio.run(request())
    assert seen == ["http"]


def test_an_app_publishes(config: EventsConfig, make_event: Callable[..., Event[Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        bus: EventBus = scope["state"]["events"]
        await bus.topology.ensure()
        assert (await bus.publish(make_event())).sequence == 1
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    events = lambda: EventBus.connect(config)  # noqa: E731 - as a user would write it
    said, _ = asyncio.run(serve(BusMiddleware(app, events=events)))

    assert kinds(said) == COMPLETE
