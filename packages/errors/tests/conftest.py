from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mtenant_errors import AppError
from mtenant_errors.asgi import ASGIApp, Message
from mtenant_errors.exceptions import CLASSES


@dataclass
class Answer:
    """What an ASGI app sent."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def problem(self) -> Any:
        return json.loads(self.body)


def _ask(app: ASGIApp, method: str = "GET", path: str = "/", **scope: Any) -> Answer:
    messages: list[Message] = []
    asked = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": b"",
        "headers": [],
        **scope,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    asyncio.run(app(asked, receive, send))  # type: ignore[arg-type]  # an app is a coroutine function
    return Answer(messages)


@pytest.fixture
def ask() -> Callable[..., Answer]:
    """Send one request to an ASGI app and return all that it sent."""
    return _ask


@pytest.fixture(params=[AppError, *CLASSES.values()], ids=lambda cls: cls.__name__)
def kind(request: pytest.FixtureRequest) -> type[AppError]:
    """Each class of the package."""
    cls: type[AppError] = request.param
    return cls
