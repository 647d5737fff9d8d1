"""What a dead letter keeps, and what a replay makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_events.codec import encode
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.outcome import Dead
from mtenant_events.consumer.replayed import baseline, event_subject
from mtenant_events.deadletter import DeadLetter, LetterNotFound, letter_of, replay_of
from mtenant_events.event import Event, Message
from mtenant_events.inbox import History
from mtenant_events.memory import MemoryBus
from mtenant_events.subscriptions import Subscriptions
from mtenant_events.tenant_id import InvalidTenantId

CONFIG = EventsConfig()
DEAD = Dead("permanent", "Broken: because", attempts=3, ends=4)


@dataclass
class _Delivery:
    subject: str = "crm.evt.acme.deal.won.3"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    sequence: int = 7
    count: int = 5


def _letter(delivery: Any, dead: Dead = DEAD) -> DeadLetter:
    message = letter_of(delivery, dead, "mail__send", CONFIG)
    return DeadLetter(11, message.subject, message.headers, message.body)


def test_a_letter_says_who_gave_up_what_why_and_when() -> None:
    letter = _letter(_Delivery())
    assert letter.stored_subject == "crm.dlq.mail__send.acme.deal.won.3"
    assert (letter.consumer, letter.tenant, letter.type) == ("mail__send", "acme", "deal.won")
    assert (letter.reason, letter.error, letter.attempts) == ("permanent", "Broken: because", 3)
    assert (letter.subject, letter.sequence) == ("crm.evt.acme.deal.won.3", 7)
    assert letter.time.endswith("Z")


def test_headers_that_command_a_server_are_kept_and_command_nothing() -> None:
    headers = {"Nats-Rollup": "all", "nats-ttl": "1s", "Content-Type": "a/b", "traceparent": "00"}
    letter = _letter(_Delivery(headers=headers))
    commanding = {name for name in letter.headers if name.lower().startswith("nats-")}
    assert commanding == {"Nats-Msg-Id", "Nats-Expected-Stream"}
    assert letter.headers["Nats-Expected-Stream"] == CONFIG.dead_letter_stream
    assert letter.original_headers == headers
    replay = replay_of(letter, CONFIG)
    assert {name for name in replay.headers if name.lower().startswith("nats-")} == commanding
    assert replay.headers["Nats-Expected-Stream"] == CONFIG.stream


def test_headers_of_a_letter_or_replay_cannot_be_claimed_by_who_publishes() -> None:
    letter = _letter(_Delivery(headers={"dlq-reason": "fine", "Dlq-Error": "x"}))
    assert letter.reason == "permanent"
    assert "dlq-reason" not in letter.headers
    for claimed in ("-5", "x", "9" * 30, "", "٣"):
        assert baseline({"Replay-Attempts": claimed, "Replay-Ends": claimed}) == History()


@given(st.text())
def test_any_error_makes_one_line_of_ascii(error: str) -> None:
    text = _letter(_Delivery(), Dead("permanent", error)).error
    assert text.isascii()
    assert text == text.strip()
    assert text.isprintable() or not text


@given(st.dictionaries(st.sampled_from(["ce-id", "traceparent", "X", "Nats-Msg-Id"]), st.text()))
def test_what_is_replayed_is_the_message_as_it_was(headers: dict[str, str]) -> None:
    delivery = _Delivery(headers=headers, body=b"\x00\xff")
    message = replay_of(_letter(delivery), CONFIG)
    assert message.subject == "crm.replay.mail__send.acme.deal.won.3"
    assert event_subject("crm", message.subject) == delivery.subject
    assert message.body == delivery.body
    kept = {name: value for name, value in message.headers.items() if name in headers}
    kept.pop("Nats-Msg-Id", None)
    headers.pop("Nats-Msg-Id", None)
    assert kept == headers


def test_a_second_replay_counts_from_the_second_letter_on() -> None:
    first = replay_of(_letter(_Delivery()), CONFIG)
    assert baseline(first.headers) == History(3, 4)
    again = _Delivery(subject=first.subject, headers=first.headers)
    second = replay_of(_letter(again, Dead("x", "y", attempts=2, ends=2)), CONFIG)
    assert baseline(second.headers) == History(5, 6)
    assert second.subject == first.subject


def test_letters_are_found_by_consumer_and_tenant_and_dropped() -> None:
    async def main() -> None:
        subs = Subscriptions()
        for name in ("one", "two"):

            @subs.on("deal.won", name=name, max_attempts=1)
            async def fail(event: Event[Any]) -> None:
                raise ValueError

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            for tenant in ("a", "b"):
                await bus.publish(Event(type="deal.won", source="/x", tenant=tenant, data={}))
            await bus.settle()
            letters = bus.letters
            found = [one async for one in letters.find(consumer="svc__one")]
            assert {one.tenant for one in found} == {"a", "b"}
            found = [one async for one in letters.find(tenant="b")]
            assert {one.consumer for one in found} == {"svc__one", "svc__two"}
            assert (await letters.show(found[0].id)) == found[0]
            await letters.drop(found[0].id)
            for gone in (letters.drop, letters.show, letters.replay):
                with pytest.raises(LetterNotFound):
                    await gone(found[0].id)
            assert len([one async for one in letters.find()]) == 3
            with pytest.raises(InvalidTenantId):
                await anext(letters.find(tenant="*"))
            with pytest.raises(ValueError, match="no consumer"):
                await anext(letters.find(consumer="x.>"))

    asyncio.run(main())


def test_a_letter_whose_body_was_too_large_is_replayed_from_the_stream_while_it_is_there() -> None:
    async def main() -> None:
        subs, seen = Subscriptions(), []
        config = EventsConfig()
        event = Event[Any](type="deal.won", source="/x", tenant="a", data={"x": "y" * 400})
        body = encode(event, config).body

        @subs.on("deal.won", name="one", max_attempts=1)
        async def one(event: Event[Any]) -> None:
            seen.append(event)
            if len(seen) == 1:
                raise ValueError

        async with MemoryBus() as bus:
            bus.include(subs, service="svc")
            message = encode(event, config)
            await bus.transport.publish(message)
            await bus.settle()
            # As a letter that had no room for it.
            letters = bus.transport.letters.messages
            stored = letters[1]
            headers = {**stored.headers, "Dlq-Body": "left in the stream"}
            letters[1] = Message(stored.subject, headers, b"")
            letters[2] = Message(stored.subject, {**headers, "Dlq-Sequence": "99"}, b"")
            with pytest.raises(LetterNotFound, match="there is no such dead letter"):
                await bus.letters.replay(2)
            await bus.letters.replay(1)
            await bus.settle()
            assert [one.data for one in seen] == [event.data, event.data]
            assert bus.messages[-1].body == body

    asyncio.run(main())
