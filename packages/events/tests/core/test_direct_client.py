"""What `DirectClient` sends is what nats-py sends, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError

from mtenant_events.direct_client import DirectClient

NAMES = ("Nats-Msg-Id", "Content-Type", "traceparent", " traceparent", "X-Other", "no name", "")
LETTERS = "aé: \r\n\t\x85\u00a0\u2028\ud800"


@given(st.dictionaries(st.sampled_from(NAMES), st.text(LETTERS, max_size=8), max_size=4))
def test_headers_are_sent_as_nats_py_sends_them(headers: dict[str, str]) -> None:
    assert asyncio.run(_sent(DirectClient(), headers)) == asyncio.run(_sent(Client(), headers))


async def _sent(client: Any, headers: dict[str, str]) -> object:
    client._flush_queue = asyncio.Queue()
    client._flush_queue.put_nowait(None)  # somebody flushes already
    client._status, client._max_payload = Client.CONNECTED, 100
    try:
        await client.publish("subject", b"payload", reply="reply", headers=headers)
    except (BadHeaderError, UnicodeEncodeError) as exc:
        return type(exc)
    return client._pending, client._pending_data_size, client.stats
