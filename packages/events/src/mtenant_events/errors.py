"""The errors of this package, all of them an `AppError`.

```
AppError
├── InternalServerError  500
│   ├── TenantRequired           an event of no tenant was to be published
│   ├── TenantMismatch           an event is of another tenant than what it is part of
│   ├── PublishRefused           the stream answered with an error
│   └── TopologyConflict         a stream is there, and cannot become what is asked for without loss
├── BadRequest  400
│   ├── InvalidTenantId
│   └── BadMessage               a message is no event; `reason` says why
├── PayloadTooLarge  413
│   └── EventTooLarge            it is larger than the stream takes
├── ServiceUnavailable  503
│   ├── EventsUnavailable      r there is no connection to NATS
│   ├── StreamUnavailable      r no stream answers for the subject: it has no leader, or is missing
│   ├── StreamFull             r the stream is at its limit, and keeps what it has
│   └── BusClosed                the bus is closed, for ever
└── GatewayTimeout  504
    └── PublishUnknown         r no acknowledgement came: the event may be stored

r: retryable; with the same event, so that it is stored once
```

No message and no `internal` text holds the data of an event.
"""

from __future__ import annotations

from enum import StrEnum

from mtenant_errors import (
    BadRequest,
    GatewayTimeout,
    InternalServerError,
    PayloadTooLarge,
    ServiceUnavailable,
)


class Reason(StrEnum):
    """Why a message is no event: all the reasons there are."""

    INVALID_UTF8 = "invalid_utf8"
    """Its text is not UTF-8."""

    INVALID_JSON = "invalid_json"
    """It is not JSON, or names a member twice, or is no object."""

    INVALID_HEADER = "invalid_header"
    """A header is not encoded as the CloudEvents binding asks."""

    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    """It is in a format that is not read here, such as a batch."""

    UNSUPPORTED_VERSION = "unsupported_version"
    """It is an event of another version of CloudEvents than 1.0."""

    MISSING_ATTRIBUTE = "missing_attribute"
    """An attribute is missing that every event has."""

    INVALID_ATTRIBUTE = "invalid_attribute"
    """An attribute is there and breaks its rule."""

    INVALID_TENANT = "invalid_tenant"
    """The tenant's id breaks its grammar."""

    TENANT_MISMATCH = "tenant_mismatch"
    """It names two tenants: in two attributes, or in an attribute and in its subject."""

    SUBJECT_MISMATCH = "subject_mismatch"
    """It came on a subject that is not the one of its type."""

    INVALID_DATA = "invalid_data"
    """Its data is not what the class of its type asks for."""


class TenantRequired(InternalServerError):
    """An event of no tenant was to be published. There is no default tenant."""

    code = "TENANT_REQUIRED"


class TenantMismatch(InternalServerError):
    """An event is of another tenant than the transaction or the context in which it is made."""

    code = "TENANT_MISMATCH"


class PublishRefused(InternalServerError):
    """The stream answered with an error that a retry would not change."""

    code = "PUBLISH_REFUSED"


class TopologyConflict(InternalServerError):
    """A stream or consumer is there, and to make it what is asked for would lose messages."""

    code, message = "TOPOLOGY_CONFLICT", "the streams are not as the settings ask: {what}"


class BadMessage(BadRequest):
    """A message is no event.

    Attributes:
        reason: Why; one of a closed set, good for counting.
    """

    code, message = "BAD_MESSAGE", "the message is no event ({reason})"
    reason: Reason

    def __init__(self, reason: Reason, internal: str | None = None) -> None:
        super().__init__(internal=internal, reason=reason.value)
        self.reason = reason


class EventTooLarge(PayloadTooLarge):
    """The event is larger than the stream takes: put what is large elsewhere, and its place into the event."""

    code, message = "EVENT_TOO_LARGE", "the event is too large"


class EventsUnavailable(ServiceUnavailable):
    """There is no connection to NATS, and nothing was sent."""

    code = "EVENTS_UNAVAILABLE"


class StreamUnavailable(ServiceUnavailable):
    """No stream answers for the subject: it has no leader now, or it was never made."""

    code = "STREAM_UNAVAILABLE"


class StreamFull(ServiceUnavailable):
    """The stream is at its limit; it keeps what it has and takes nothing new."""

    code = "STREAM_FULL"


class BusClosed(ServiceUnavailable):
    """The bus was closed, or its connection was given up; only a new one helps."""

    code, message = "BUS_CLOSED", "the event bus is closed"
    retryable = False


class PublishUnknown(GatewayTimeout):
    """No acknowledgement came in time: the event may be stored. The same event may be published again."""

    code = "PUBLISH_UNKNOWN"
    message = "it is not known whether the event was published"
    retryable = True
