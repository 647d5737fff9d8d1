from __future__ import annotations

import nats.errors
import nats.js.errors
import pytest

from mtenant_errors import AppError
from mtenant_events import (
    BusClosed,
    EventsUnavailable,
    EventTooLarge,
    PublishRefused,
    PublishUnknown,
    StreamFull,
    StreamUnavailable,
    TopologyConflict,
)
from mtenant_events.translation import refusal, translated


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (nats.errors.NoRespondersError(), StreamUnavailable),
        (nats.js.errors.NoStreamResponseError(), StreamUnavailable),
        (nats.js.errors.ServiceUnavailableError(), StreamUnavailable),
        (nats.errors.ConnectionClosedError(), BusClosed),
        (nats.errors.ConnectionDrainingError(), BusClosed),
        (nats.errors.OutboundBufferLimitError(), EventsUnavailable),
        (nats.errors.ConnectionReconnectingError(), EventsUnavailable),
        (nats.errors.MaxPayloadError(), EventTooLarge),
        (nats.errors.TimeoutError(), PublishUnknown),
        (nats.errors.BadSubjectError(), PublishRefused),
        (nats.errors.BadHeaderError("a b"), PublishRefused),
    ],
)
def test_what_the_client_raises_is_an_error_of_this_package(
    raised: Exception, seen: type[AppError]
) -> None:
    assert type(translated(raised)) is seen


def test_what_is_not_the_clients_is_left_alone() -> None:
    assert translated(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("code", "number", "seen", "retryable"),
    [
        (400, 10054, EventTooLarge, False),
        (503, 10077, StreamFull, True),
        (400, 10065, TopologyConflict, False),
        (400, 10060, PublishRefused, False),
        (503, 10008, StreamUnavailable, True),
        (429, 10167, StreamUnavailable, True),
        (None, None, PublishRefused, False),
        ("503", [], PublishRefused, False),
    ],
)
def test_a_refusal_is_told_by_the_numbers_of_the_server(
    code: object, number: object, seen: type[AppError], retryable: bool
) -> None:
    error = refusal({"code": code, "err_code": number, "description": "x" * 1000})

    assert type(error) is seen
    assert error.retryable is retryable
