"""The client of nats-py, with subscriptions whose messages go straight to a function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError

Receive = Callable[[str, str, bytes, bytes], None]
"""Takes the subject, the subject to reply to, the body, and the header block as it came."""

LINGER: Final = 0.01
"""Seconds that an answer may wait for others."""

_LARGE: Final = 32 << 10  # bytes that are worth a call of the system
_OUR_HEADERS: Final = frozenset(
    ("Nats-Msg-Id", "Nats-Expected-Stream", "Content-Type", "traceparent", "tracestate")
)
_FIRST_LINE: Final = len(b"NATS/1.0\r\n")

logger = logging.getLogger(__name__)


class DirectClient(Client):
    """Calls a function for each message of some subscriptions, from the task that reads the socket.

    nats-py puts each message into a queue, for a task of the subscription to take it out and await a
    callback: a quarter of the time that it takes to consume one. And what is no UTF-8 in a subject,
    which a server takes from anybody, ends its reader for ever.

    And it sends small answers without the steps of `publish`, which cost as much as all the rest of an
    acknowledgement, and the headers that events have without looking at each letter, which is half of
    publishing one. It uses private names of nats-py for that; tests would miss them in a later one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._receivers: dict[int, Receive] = {}
        self._lingering = False

    def receive(self, subscription: Subscription, receive: Receive) -> None:
        """Have the messages of a subscription go to a function, which does not wait."""
        self._receivers[subscription._id] = receive

    def answer(self, subject: str, payload: bytes, *, linger: bool = False) -> None:
        """Send a message without headers; it does not wait.

        While the connection is lost it is kept, as `publish` would.

        Args:
            subject: As a message named it, to answer to.
            payload: A few bytes.
            linger: Whether it may wait for others, up to 10 ms, so that many go out at once. What
                else is sent takes it along.

        Raises:
            ConnectionClosedError: There will be no connection any more.
        """
        if self.is_closed or self._flush_queue is None:
            raise ConnectionClosedError
        command = f"PUB {subject} {len(payload)}\r\n".encode() + payload + b"\r\n"
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not linger or self._pending_data_size > _LARGE:
            self._flush_soon()
        elif not self._lingering:
            self._lingering = True
            asyncio.get_running_loop().call_later(LINGER, self._flush_soon)

    def _flush_soon(self) -> None:
        self._lingering = False
        if self._flush_queue is not None and self._flush_queue.empty() and not self.is_closed:
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _send_publish(
        self,
        subject: str,
        reply: str,
        payload: bytes,
        payload_size: int,
        headers: dict[str, Any] | None,
    ) -> None:
        block = _header_block(headers) if headers and subject else None
        if block is None:
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        sizes = f"{len(block)} {len(block) + payload_size}"
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(
            b"HPUB %b\r\n%b%b\r\n" % (f"{subject} {reply} {sizes}".encode(), block, payload)
        )
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        receive = self._receivers.get(sid)
        if receive is None or sid not in self._subs:
            self._receivers.pop(sid, None)
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]  # None is what its parser passes
            return
        try:
            receive(subject.decode(errors="replace"), reply.decode(), data, headers or b"")
        except Exception:  # anything that got out would end the reader
            logger.exception("a message could not be received")

    def _build_message(
        self,
        sid: int,
        subject: bytes,
        reply: bytes,
        data: bytes,
        headers: dict[str, str] | None,
    ) -> Any:
        return Msg(
            self,
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _sid=sid,
        )


async def not_direct(message: Msg) -> None:
    """Stand where a callback is asked for, for a subscription whose messages go to a function.

    Raises:
        RuntimeError: It was called.
    """
    raise RuntimeError("nats-py has changed: messages do not come to DirectClient._process_msg")


def _header_block(headers: Mapping[str, str]) -> bytes | None:
    """Return headers as they are sent, or None where nats-py has to look at each letter of them."""
    lines = ["NATS/1.0"]
    for name, value in headers.items():
        # What can be printed has no line break in it.
        if name not in _OUR_HEADERS or not value.isprintable():
            return None
        lines.append(f"{name}: {value.strip()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse_headers(block: bytes) -> dict[str, str]:
    r"""Return the headers of a header block (NATS ADR-4), without the line that it begins with.

    >>> parse_headers(b"NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n")
    {'A': '1', 'B': '2'}
    """
    headers = {}
    for line in block[_FIRST_LINE:].decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers


def parse_status(block: bytes) -> tuple[str, str]:
    r"""Return the status of a header block and its description; both are empty if it has none.

    >>> parse_status(b"NATS/1.0 409 Consumer Deleted\r\n\r\n")
    ('409', 'Consumer Deleted')
    """
    line = block.partition(b"\r\n")[0].decode(errors="replace")[len("NATS/1.0") :].strip()
    status, _, description = line.partition(" ")
    return status, description
