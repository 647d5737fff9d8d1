"""What NATS and its client say, as errors of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import nats.errors
import nats.js.errors

from mtenant_errors import AppError
from mtenant_events.errors import (
    BusClosed,
    EventsUnavailable,
    EventTooLarge,
    PublishRefused,
    PublishUnknown,
    StreamFull,
    StreamUnavailable,
    TopologyConflict,
)

# Numbers of the server's own table of errors (nats-server, server/errors.json): `err_code`.
_TOO_LARGE: Final = 10054  # message size exceeds maximum allowed
_STORE_FAILED: Final = 10077  # "maximum bytes exceeded" and its like, as the store says it
_CONFLICTS: Final = (
    10012,  # consumer: a setting cannot be changed
    10052,  # stream: a setting cannot be changed
    10058,  # stream: the name is in use with other settings
    10065,  # stream: subjects overlap with another stream
    10148,  # consumer: the name is in use with other settings
)
_LATER: Final = (408, 429, 503)


def refusal(error: Mapping[str, Any]) -> AppError:
    """Return what a stream's negative acknowledgement means.

    Args:
        error: The member `error` of the answer: `code`, `err_code`, `description`.
    """
    code, number = error.get("code"), error.get("err_code")
    what = f"{error.get('description', 'no description')!s:.300} ({number})"
    if number == _TOO_LARGE:
        return EventTooLarge(internal=what)
    if number == _STORE_FAILED:
        return StreamFull(internal=what)
    if number in _CONFLICTS:
        return TopologyConflict(what=what)
    if code in _LATER:
        return StreamUnavailable(internal=what)
    return PublishRefused(internal=what)


def translated(exc: Exception) -> AppError | None:
    """Return the error that a caller sees in place of one of the client's; None if it is not the client's."""
    what = f"{type(exc).__name__}: {exc}"[:300]
    if isinstance(exc, nats.js.errors.ServiceUnavailableError) and exc.code is None:
        return StreamUnavailable(internal="JetStream does not answer: is it enabled?")
    if isinstance(exc, nats.js.errors.APIError):
        return refusal({"code": exc.code, "err_code": exc.err_code, "description": exc.description})
    if isinstance(exc, nats.errors.NoRespondersError | nats.js.errors.NoStreamResponseError):
        return StreamUnavailable(internal=f"JetStream does not answer: {what}")
    if isinstance(exc, nats.errors.ConnectionClosedError | nats.errors.ConnectionDrainingError):
        return BusClosed(internal=what)
    if isinstance(exc, nats.errors.OutboundBufferLimitError):
        return EventsUnavailable(internal=what)
    if isinstance(exc, nats.errors.MaxPayloadError):
        return EventTooLarge(internal=what)
    if isinstance(exc, nats.errors.TimeoutError):
        return PublishUnknown(internal=what)
    if isinstance(exc, nats.errors.BadSubjectError | nats.errors.BadHeaderError):
        return PublishRefused(internal=what)
    if isinstance(exc, nats.errors.Error):
        return EventsUnavailable(internal=what)
    return None
