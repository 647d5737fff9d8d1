"""Messages that nobody here has made: each is dead-lettered by name, and none stops the others."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from mtenant_events.event import Event
from mtenant_events.subscriptions import Subscriptions

ENVELOPE = {
    "specversion": "1.0",
    "id": "1",
    "source": "/x",
    "type": "deal.won",
    "time": "2026-01-01T00:00:00Z",
    "tenantid": "acme",
    "data": {},
}


async def _send(url: str, *commands: bytes) -> None:
    """Say something to a server that no client would."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
    writer.writelines(commands)
    writer.write(b"PING\r\n")
    await writer.drain()
    async with asyncio.timeout(10):
        await reader.readuntil(b"PONG")
    writer.close()
    await writer.wait_closed()


def _pub(subject: bytes, body: bytes, *headers: bytes) -> bytes:
    if not headers:
        return b"PUB %s %d\r\n%s\r\n" % (subject, len(body), body)
    head = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in headers) + b"\r\n"
    sizes = len(head), len(head) + len(body)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, *sizes, head, body)


CASES: dict[str, tuple[bytes, bytes, tuple[bytes, ...], str]] = {
    "a subject that is no UTF-8": (b"\xff\xfe.deal.won.3", b"{}", (), "missing_attribute"),
    "a tenant in capitals": (
        b"ACME.deal.won.3",
        json.dumps(ENVELOPE).encode(),
        (b"Content-Type: application/cloudevents+json",),
        "invalid_tenant",
    ),
    "a partition that is none": (
        b"acme.deal.won.99",
        json.dumps(ENVELOPE).encode(),
        (b"Content-Type: application/cloudevents+json",),
        "subject_mismatch",
    ),
    "an envelope of another tenant": (
        b"other.deal.won.3",
        json.dumps(ENVELOPE).encode(),
        (b"Content-Type: application/cloudevents+json",),
        "tenant_mismatch",
    ),
    "a header that is no UTF-8": (
        b"acme.deal.won.3",
        b"{}",
        (b"ce-id: \xff\xfe", b"ce-specversion: 1.0"),
        "invalid_header",
    ),
    "a header with a status": (b"acme.deal.won.3", b"[]", (b"Status: 409",), "invalid_json"),
    "a status line": (b"acme.deal.won.3", b"[", (), "invalid_json"),
    "no body": (b"acme.deal.won.3", b"", (), "invalid_json"),
    "a header for the server": (b"acme.deal.won.3", b"1", (b"Nats-Msg-Id: same",), "invalid_json"),
    "headers that claim a replay": (
        b"acme.deal.won.3",
        b"2",
        (b"Replay-Attempts: -5", b"Replay-Ends: x", b"Dlq-Reason: fine"),
        "invalid_json",
    ),
    "a body that nests too deep": (b"acme.deal.won.3", b"[" * 100_000, (), "invalid_json"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_message_becomes_a_letter_and_the_next_event_is_handled(
    place: Any, case: str
) -> None:
    tail, body, headers, reason = CASES[case]

    async def main() -> None:
        subs = Subscriptions()
        seen: list[Any] = []

        @subs.on("deal.won", name="log")
        async def log(event: Event[Any]) -> None:
            seen.append(event.data["deal"])

        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            subject = f"{place.config.prefix}.evt.".encode() + tail
            first = _pub(f"{place.config.prefix}.evt.acme.deal.won.3".encode(), b"3")
            await _send(place.config.servers[0], first, _pub(subject, body, *headers))
            await bus.publish(place.event("good"))
            await place.until(lambda: seen)
            await place.settled()
            other, letter = sorted(await place.dead(), key=lambda letter: letter.sequence)
            assert (other.sequence, letter.sequence) == (1, 2)
            assert (letter.reason, letter.body) == (reason, body)
            assert seen == ["good"]

    asyncio.run(main())


def test_a_large_message_that_is_no_event_is_kept_by_the_stream_and_its_letter_says_so(
    place: Any,
) -> None:
    body = b"x" * (int(place.config.max_payload) - 100)

    async def main() -> None:
        subs = Subscriptions()

        @subs.on("deal.won", name="log")
        async def log(event: Event[Any]) -> None:
            raise AssertionError

        async with place.open() as bus:
            await bus.include(subs, service="svc").ready()
            await place.client.jetstream().publish(
                f"{place.config.prefix}.evt.acme.deal.won.3", body
            )
            await place.settled()
            (letter,) = await place.dead()
            assert (letter.reason, letter.body, letter.body_left) == ("invalid_json", b"", True)

    asyncio.run(main())


def test_a_message_to_the_consumers_inbox_is_no_event(place: Any) -> None:
    async def main() -> None:
        subs = Subscriptions()
        seen: list[Any] = []

        @subs.on("deal.won", name="log")
        async def log(event: Event[Any]) -> None:
            seen.append(event)

        async with place.open() as bus:
            group = bus.include(subs, service="svc")
            await group.ready()
            (source,) = group.consumers[0]._sources
            for payload in (b"", b"{}"):
                await place.client.publish(f"{source._inbox}{source._round}", payload)
                await place.client.publish(f"{source._inbox}x", payload, headers={"Status": "409"})
            await bus.publish(place.event("good"))
            await place.until(lambda: seen)
            await group.ready()

    asyncio.run(main())
