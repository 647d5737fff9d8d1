"""Events to messages, and messages to events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mtenant_events.cloudevents import STRUCTURED, parse_json, parse_time, read
from mtenant_events.config import EventsConfig
from mtenant_events.errors import BadMessage, EventTooLarge, Reason
from mtenant_events.event import Event, Message, check_text
from mtenant_events.payload import Unfit, plain
from mtenant_events.registry import Registry
from mtenant_events.subjects import address_of, agrees, subject_of
from mtenant_events.tenant_id import InvalidTenantId

MESSAGE_ID: Final = "Nats-Msg-Id"
"""The header by which a stream knows a message again (NATS documentation, JetStream headers)."""

EXPECTED_STREAM: Final = "Nats-Expected-Stream"
"""The header that names the only stream that may store a message."""

_PLAIN: Final = {
    "id": "id",
    "type": "type",
    "source": "source",
    "tenant_id": "tenantid",
    "organization_id": "organizationid",
    "timestamp": "time",
    "actor": "actor",
    "subject": "subject",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
    "data": "data",
}
_REQUIRED: Final = ("specversion", "id", "source", "type", "time")
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_text: Final = json.encoder.encode_basestring
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain
)


def encode(event: Event[Any], config: EventsConfig, *, key: str | None = None) -> Message:
    """Return the message of an event: structured CloudEvents 1.0, with the trace that is going on.

    Its `Nats-Msg-Id` is `<tenant>:<id>`: ids alone would be known again across tenants.

    Args:
        event: The event.
        config: Prefix of the subject, stream, largest message.
        key: What the event is ordered by: its subject by default, else its id.

    Raises:
        EventTooLarge: The message is larger than `config.max_event`.
        TypeError: Its data holds what JSON does not have.
        ValueError: Its data holds NaN, half of a surrogate pair, or itself; or the key is empty, longer
            than 512 characters, or has control characters.
    """
    if key is None:
        key = event.subject or event.id
    else:
        check_text("key", key)
    headers = {
        MESSAGE_ID: message_id(event.tenant, event.id),
        EXPECTED_STREAM: config.stream,
        "Content-Type": STRUCTURED,
    }
    _PROPAGATOR.inject(headers)
    try:
        body = f'{_attributes(event, key)},"data":{_ENCODER.encode(event.data)}}}'.encode()
    except (ValueError, TypeError, RecursionError) as exc:
        kind = TypeError if isinstance(exc, TypeError) else ValueError
        raise kind(f"the data of {event.type} is no JSON: {exc}") from exc
    subject = subject_of(config.prefix, event.tenant, event.type, key)
    if (size := size_of(headers, body)) > config.max_event:
        raise EventTooLarge(internal=f"{event.type} has {size} bytes, more than {config.max_event}")
    return Message(subject, headers, body)


def decode(
    subject: str, headers: Mapping[str, str] | None, body: bytes, registry: Registry, *, prefix: str
) -> Event[Any]:
    """Return the event of a message: of CloudEvents 1.0, structured or binary, or in the plain spelling.

    Args:
        subject: What it was published to: tenant and type must be those of the event.
        headers: Of the message.
        body: Of the message.
        registry: Knows the classes of payloads. Data of a type that it does not know stays as it is.
        prefix: Of the subject.

    Raises:
        BadMessage: It is no event, or not of this subject; `reason` says why.
    """
    attributes = read(headers or {}, body)
    if attributes is None:
        event = event_from_dict(parse_json(body), registry)
    else:
        event = _event(attributes, registry)
    if not agrees(prefix, subject, event.tenant, event.type):
        address = address_of(prefix, subject)
        if address.tenant != event.tenant:
            raise BadMessage(Reason.TENANT_MISMATCH, "the subject is another tenant's")
        raise BadMessage(Reason.SUBJECT_MISMATCH, f"the subject is of {address.type}")
    return event


def event_to_dict(event: Event[Any]) -> dict[str, Any]:
    """Return an event as JSON values under plain names, `tenant_id` and `organization_id` among them."""
    optional = {
        "actor": event.actor,
        "subject": event.subject,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
    }
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "tenant_id": event.tenant,
        "organization_id": event.tenant,
        "timestamp": event.timestamp.isoformat()[:-6] + "Z",
        **{name: value for name, value in optional.items() if value is not None},
        "data": json.loads(_ENCODER.encode(event.data)),
    }


def event_from_dict(members: Any, registry: Registry) -> Event[Any]:
    """Return the event of what `event_to_dict` has made, or of one with only one of the two tenants.

    Raises:
        BadMessage: A member is missing, or breaks its rule.
    """
    if not isinstance(members, Mapping):
        raise BadMessage(Reason.INVALID_JSON, "not an object")
    attributes = {_PLAIN[name]: value for name, value in members.items() if name in _PLAIN}
    return _event({**attributes, "specversion": "1.0"}, registry)


def message_id(tenant: str, id_: str) -> str:
    """Return the `Nats-Msg-Id` of an event; what a header might not keep is percent-encoded in it."""
    usual = id_.isascii() and id_.replace("-", "").isalnum()
    return f"{tenant}:{id_ if usual else quote(id_, safe='')}"


def size_of(headers: Mapping[str, str], body: bytes) -> int:
    """Return the size of a message as a server counts it: `NATS/1.0`, the headers, the body."""
    fields = sum(map(len, headers)) + sum(map(len, headers.values())) + 4 * len(headers)
    return 12 + fields + len(body)


def _attributes(event: Event[Any], key: str) -> str:
    """Return the attributes as the beginning of a JSON object; written here, for it is half the time."""
    optional = ""
    if event.subject is not None:
        optional += f',"subject":{_text(event.subject)}'
    if event.actor is not None:
        optional += f',"actor":{_text(event.actor)}'
    if event.correlation_id is not None:
        optional += f',"correlationid":{_text(event.correlation_id)}'
    if event.causation_id is not None:
        optional += f',"causationid":{_text(event.causation_id)}'
    # Type and tenant need no escaping: an event checks their grammar.
    return (
        f'{{"specversion":"1.0","id":{_text(event.id)},"source":{_text(event.source)}'
        f',"type":"{event.type}","time":"{event.timestamp.isoformat()[:-6]}Z"'
        f',"datacontenttype":"application/json","tenantid":"{event.tenant}"'
        f',"organizationid":"{event.tenant}","partitionkey":{_text(key)}{optional}'
    )


def _event(attributes: Mapping[str, Any], registry: Registry) -> Event[Any]:
    get = attributes.get
    for name in _REQUIRED:
        if get(name) is None:
            raise BadMessage(Reason.MISSING_ATTRIBUTE, name)
    if attributes["specversion"] != "1.0":
        raise BadMessage(Reason.UNSUPPORTED_VERSION, f"got {attributes['specversion']!r:.20}")
    type_, timestamp = attributes["type"], parse_time(attributes["time"])
    try:
        return Event(
            type=type_,
            source=attributes["source"],
            tenant=_tenant(get("tenantid"), get("organizationid")),
            data=registry.build(type_, get("data")) if isinstance(type_, str) else None,
            id=attributes["id"],
            timestamp=timestamp,
            actor=get("actor"),
            subject=get("subject"),
            correlation_id=get("correlationid"),
            causation_id=get("causationid"),
        )
    except InvalidTenantId as exc:
        raise BadMessage(Reason.INVALID_TENANT, exc.internal) from None
    except Unfit as exc:
        raise BadMessage(Reason.INVALID_DATA, f"{type_:.100}: {exc}") from None
    except ValueError as exc:
        raise BadMessage(Reason.INVALID_ATTRIBUTE, str(exc)) from None


def _tenant(tenant: Any, organization: Any) -> Any:
    if tenant is None:
        if organization is None:
            raise BadMessage(Reason.MISSING_ATTRIBUTE, "tenantid")
        return organization
    if organization is not None and organization != tenant:
        raise BadMessage(Reason.TENANT_MISMATCH, "tenantid and organizationid differ")
    return tenant
