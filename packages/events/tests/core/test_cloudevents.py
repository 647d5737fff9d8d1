"""CloudEvents' own SDK reads what is written here, and what it writes is read here."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from cloudevents.core.bindings.http import HTTPMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_events import Event, EventsConfig, Registry
from mtenant_events.codec import decode, encode
from mtenant_events.subjects import subject_of

CONFIG = EventsConfig(prefix="crm", source="/tests")
FORMAT = JSONFormat()

# A source is a URI reference. Of text the SDK refuses what we refuse too, and the header codec of the SDK
# loses white space at the ends.
TEXT = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]), min_size=1, max_size=40
).filter(lambda text: text == text.strip())
SOURCES = st.from_regex(r"/[a-z0-9/-]{0,20}", fullmatch=True)
JSON_OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    max_size=3,
)
EVENTS = st.builds(
    Event[Any],
    type=st.from_regex(r"[a-z][a-z0-9_]{0,9}\.[a-z][a-z0-9_]{0,9}", fullmatch=True),
    source=SOURCES,
    tenant=st.from_regex(r"[a-z0-9][a-z0-9_]{0,9}", fullmatch=True),
    data=JSON_OBJECTS,
    id=TEXT,
    timestamp=st.datetimes(timezones=st.just(UTC)),
    actor=st.none() | TEXT,
    subject=st.none() | TEXT,
    correlation_id=st.none() | TEXT,
    causation_id=st.none() | TEXT,
)


def theirs(event: Event[Any]) -> CloudEvent:
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "tenantid": event.tenant,
        "subject": event.subject,
        "actor": event.actor,
        "correlationid": event.correlation_id,
        "causationid": event.causation_id,
    }
    kept = {name: value for name, value in attributes.items() if value is not None}
    return CloudEvent(kept, event.data)


def read(event: Event[Any], message: HTTPMessage) -> Event[Any]:
    subject = subject_of("crm", event.tenant, event.type, "key")
    return decode(subject, message.headers, message.body, Registry(), prefix="crm")


@settings(max_examples=100)
@given(EVENTS)
def test_the_sdk_reads_what_is_written_here(event: Event[Any]) -> None:
    message = encode(event, CONFIG)
    found = from_structured(
        HTTPMessage(headers=dict(message.headers), body=message.body), FORMAT, CloudEvent
    )

    assert found.get_specversion() == "1.0"
    assert (found.get_id(), found.get_source(), found.get_type()) == (
        event.id,
        event.source,
        event.type,
    )
    assert found.get_time() == event.timestamp
    assert found.get_subject() == event.subject
    assert found.get_extension("tenantid") == found.get_extension("organizationid") == event.tenant
    assert found.get_extension("correlationid") == event.correlation_id
    assert found.get_data() == event.data
    assert all(name.isalnum() and name == name.lower() for name in json.loads(message.body))


@settings(max_examples=100)
@given(EVENTS)
def test_what_the_sdk_writes_structured_is_read_here(event: Event[Any]) -> None:
    assert read(event, to_structured(theirs(event), FORMAT)) == event


@settings(max_examples=100)
@given(EVENTS)
def test_what_the_sdk_writes_binary_is_read_here(event: Event[Any]) -> None:
    assert read(event, to_binary(theirs(event), FORMAT)) == event
