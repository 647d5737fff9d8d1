from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtenant_config import ByteSize
from mtenant_events import BadMessage, Event, EventsConfig, EventTooLarge, Message, Reason, Registry
from mtenant_events.codec import MESSAGE_ID, decode, encode, size_of
from mtenant_events.event import LONGEST_TEXT

CONFIG = EventsConfig(prefix="crm", source="/tests")
Make = Callable[..., Event[Any]]
STRUCTURED = {"Content-Type": "application/cloudevents+json"}

TEXT = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=LONGEST_TEXT
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
EVENTS = st.builds(
    Event[Any],
    type=st.from_regex(r"[a-z][a-z0-9_]{0,20}\.[a-z][a-z0-9_]{0,20}", fullmatch=True),
    source=TEXT,
    tenant=st.from_regex(r"[a-z0-9][a-z0-9_]{0,55}", fullmatch=True),
    data=JSON,
    id=TEXT,
    timestamp=st.datetimes(timezones=st.just(UTC)),
    actor=st.none() | TEXT,
    subject=st.none() | TEXT,
    correlation_id=st.none() | TEXT,
    causation_id=st.none() | TEXT,
)


def read(message: Message, registry: Registry | None = None) -> Event[Any]:
    return decode(
        message.subject, message.headers, message.body, registry or Registry(), prefix="crm"
    )


def reason_of(message: Message, registry: Registry | None = None) -> Reason:
    with pytest.raises(BadMessage) as caught:
        read(message, registry)
    assert str(caught.value.reason) in str(caught.value)
    return caught.value.reason


@pytest.fixture
def message(make_event: Make) -> Message:
    return encode(make_event(id="e1", subject="d7"), CONFIG)


def changed(message: Message, **others: Any) -> Message:
    """Return a message with other attributes; `...` takes one away."""
    attributes = {**json.loads(message.body), **others}
    kept = {name: value for name, value in attributes.items() if value is not ...}
    return replace(message, body=json.dumps(kept).encode())


@settings(max_examples=150)
@given(EVENTS)
def test_every_event_becomes_a_message_and_itself_again(event: Event[Any]) -> None:
    message = encode(event, CONFIG)

    assert read(message) == event
    assert set(message.headers) == {MESSAGE_ID, "Nats-Expected-Stream", "Content-Type"}
    assert message.headers[MESSAGE_ID].isascii()
    assert message.headers[MESSAGE_ID].startswith(f"{event.tenant}:")


@settings(max_examples=100)
@given(st.lists(TEXT, min_size=2, max_size=2, unique=True))
def test_two_ids_are_two_message_ids(ids: list[str]) -> None:
    made = [
        encode(Event(type="a.b", source="/t", tenant="acme", data=None, id=id_), CONFIG)
        for id_ in ids
    ]

    assert made[0].headers[MESSAGE_ID].strip() != made[1].headers[MESSAGE_ID].strip()


@pytest.mark.parametrize("id_", ["e1 ", " e1", "e1%20", "é1", "e%"])
def test_what_a_header_would_change_is_encoded(make_event: Make, id_: str) -> None:
    written = encode(make_event(id=id_), CONFIG).headers[MESSAGE_ID]

    assert written.isascii()
    assert " " not in written
    assert unquote(written.removeprefix("acme:")) == id_


def test_a_payload_of_a_known_class_comes_back_as_one(make_event: Make) -> None:
    event = make_event()

    assert read(encode(event, CONFIG), Registry([type(event.data)])) == event


def test_an_id_is_one_of_a_tenant(make_event: Make) -> None:
    made = {encode(make_event(id="e1", tenant=name), CONFIG).headers[MESSAGE_ID] for name in "ab"}

    assert made == {"a:e1", "b:e1"}


def test_the_key_is_the_one_given_or_the_subject_or_the_id(make_event: Make) -> None:
    def key(**attributes: Any) -> Any:
        given = attributes.pop("key", None)
        return json.loads(encode(make_event(id="e1", **attributes), CONFIG, key=given).body)[
            "partitionkey"
        ]

    assert (key(), key(subject="d7"), key(subject="d7", key="k")) == ("e1", "d7", "k")


@pytest.mark.parametrize(
    "data",
    [float("nan"), float("inf"), "\ud800", {"a": {1, "\udfff"}}],
)
def test_data_that_is_no_json_is_a_value_error(make_event: Make, data: Any) -> None:
    with pytest.raises(ValueError, match=r"data of deal\.closed_won"):
        encode(make_event(data=data), CONFIG)


def test_data_that_holds_itself_is_a_value_error(make_event: Make) -> None:
    around: list[Any] = []
    around.append(around)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    for data in (around, deep):
        with pytest.raises(ValueError, match="no JSON"):
            encode(make_event(data=data), CONFIG)


def test_data_that_nobody_can_write_is_a_type_error(make_event: Make) -> None:
    with pytest.raises(TypeError, match="object cannot be written"):
        encode(make_event(data={"a": object()}), CONFIG)


def test_the_largest_event_is_the_one_whose_dead_letter_fits(make_event: Make) -> None:
    config = replace(CONFIG, max_payload=ByteSize(20_000))
    empty = encode(make_event(id="e1", data=""), config)
    room = config.max_event - size_of(empty.headers, empty.body)

    largest = encode(make_event(id="e1", data="x" * room), config)
    assert size_of(largest.headers, largest.body) == config.max_event
    with pytest.raises(EventTooLarge):
        encode(make_event(id="e1", data="x" * (room + 1)), config)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"specversion": "0.3"}, Reason.UNSUPPORTED_VERSION),
        ({"specversion": 1.0}, Reason.UNSUPPORTED_VERSION),
        ({"specversion": ...}, Reason.MISSING_ATTRIBUTE),
        ({"id": ...}, Reason.MISSING_ATTRIBUTE),
        ({"id": None}, Reason.MISSING_ATTRIBUTE),
        ({"id": ""}, Reason.INVALID_ATTRIBUTE),
        ({"id": 7}, Reason.INVALID_ATTRIBUTE),
        ({"id": "a\nb"}, Reason.INVALID_ATTRIBUTE),
        ({"source": ...}, Reason.MISSING_ATTRIBUTE),
        ({"source": ["/"]}, Reason.INVALID_ATTRIBUTE),
        ({"type": ...}, Reason.MISSING_ATTRIBUTE),
        ({"type": "deal"}, Reason.INVALID_ATTRIBUTE),
        ({"type": {}}, Reason.INVALID_ATTRIBUTE),
        ({"type": "deal.closed_lost"}, Reason.SUBJECT_MISMATCH),
        ({"time": ...}, Reason.MISSING_ATTRIBUTE),
        ({"time": "yesterday"}, Reason.INVALID_ATTRIBUTE),
        ({"time": "2026-01-01"}, Reason.INVALID_ATTRIBUTE),
        ({"time": "2026-01-01T00:00:00"}, Reason.INVALID_ATTRIBUTE),
        ({"time": "2026-13-01T00:00:00Z"}, Reason.INVALID_ATTRIBUTE),
        ({"time": "0001-01-01T00:00:00+23:59"}, Reason.INVALID_ATTRIBUTE),
        ({"time": "٢٠٢٦-01-01T00:00:00Z"}, Reason.INVALID_ATTRIBUTE),
        ({"time": 7}, Reason.INVALID_ATTRIBUTE),
        ({"tenantid": ..., "organizationid": ...}, Reason.MISSING_ATTRIBUTE),
        ({"tenantid": "globex"}, Reason.TENANT_MISMATCH),
        ({"tenantid": "globex", "organizationid": "globex"}, Reason.TENANT_MISMATCH),
        ({"tenantid": "ACME", "organizationid": "ACME"}, Reason.INVALID_TENANT),
        ({"tenantid": [], "organizationid": []}, Reason.INVALID_TENANT),
        ({"tenantid": "a.b", "organizationid": "a.b"}, Reason.INVALID_TENANT),
        ({"subject": ""}, Reason.INVALID_ATTRIBUTE),
        ({"actor": 7}, Reason.INVALID_ATTRIBUTE),
        ({"correlationid": {}}, Reason.INVALID_ATTRIBUTE),
        ({"tenant_id": "acme"}, Reason.INVALID_ATTRIBUTE),
        ({"Tenantid": "acme"}, Reason.INVALID_ATTRIBUTE),
        ({"data": None}, Reason.INVALID_DATA),
        ({"data": {"deal_id": 7, "amount": 1}}, Reason.INVALID_DATA),
        ({"data_base64": "e30="}, Reason.INVALID_DATA),
        ({"data": ..., "data_base64": "*"}, Reason.INVALID_DATA),
        ({"data": ..., "data_base64": 7}, Reason.INVALID_DATA),
        ({"data": ..., "data_base64": "/w=="}, Reason.INVALID_UTF8),
        ({"data": ..., "data_base64": "e30=", "datacontenttype": 7}, Reason.INVALID_ATTRIBUTE),
    ],
)
def test_an_attribute_that_breaks_its_rule_has_a_named_reason(
    message: Message, make_event: Make, others: dict[str, Any], reason: Reason
) -> None:
    registry = Registry([type(make_event().data)])

    assert reason_of(changed(message, **others), registry) is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.INVALID_JSON),
        (b"{", Reason.INVALID_JSON),
        (b"[]", Reason.INVALID_JSON),
        (b'"text"', Reason.INVALID_JSON),
        (b"\xff", Reason.INVALID_UTF8),
        (b"\xef\xbb\xbf{}", Reason.INVALID_JSON),
        ("{}".encode("utf-16"), Reason.INVALID_UTF8),
        (b'{"id":"a","id":"b"}', Reason.INVALID_JSON),
        (b'{"data":{"a":1,"a":2}}', Reason.INVALID_JSON),
        (b'{"data":NaN}', Reason.INVALID_JSON),
        (b'{"data":"\\ud800"}', Reason.INVALID_JSON),
        (b'{"data":' + b"9" * 5000 + b"}", Reason.INVALID_JSON),
        (b"[" * 200_000, Reason.INVALID_JSON),
    ],
)
def test_a_body_that_is_no_json_object_has_a_named_reason(
    message: Message, body: bytes, reason: Reason
) -> None:
    assert reason_of(replace(message, body=body)) is reason


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents-batch+json",
        "application/cloudevents+avro",
        "application/cloudevents+json; charset=utf-16",
        "application/cloudeventsx",
        "text/plain",
        "application/xml",
    ],
)
def test_another_format_is_not_guessed_at(message: Message, content_type: str) -> None:
    assert (
        reason_of(replace(message, headers={"Content-Type": content_type}))
        is Reason.UNSUPPORTED_CONTENT_TYPE
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "Application/CloudEvents+JSON"},
        {"CONTENT-TYPE": "application/cloudevents; charset=UTF-8"},
        {"Content-Type": 'application/cloudevents+json; charset="utf-8"'},
    ],
)
def test_names_and_types_are_read_in_any_case(message: Message, headers: dict[str, str]) -> None:
    assert read(replace(message, headers=headers)).id == "e1"


def test_a_message_without_a_content_type_is_read_in_the_plain_spelling(make_event: Make) -> None:
    event = make_event()
    message = encode(event, CONFIG)
    plain = json.dumps(event.to_dict()).encode()

    registry = Registry([type(event.data)])
    assert read(replace(message, headers={}, body=plain), registry) == event
    assert decode(message.subject, None, plain, registry, prefix="crm") == event
    assert reason_of(replace(message, headers={}, body=b"[]")) is Reason.INVALID_JSON


def test_a_subject_of_another_tenant_or_type_is_refused(message: Message) -> None:
    assert (
        reason_of(replace(message, subject="crm.evt.globex.deal.closed_won.1"))
        is Reason.TENANT_MISMATCH
    )
    assert (
        reason_of(replace(message, subject="crm.evt.acme.deal.closed_lost.1"))
        is Reason.SUBJECT_MISMATCH
    )
    assert (
        reason_of(replace(message, subject="crm.evt.*.deal.closed_won.1")) is Reason.INVALID_TENANT
    )
    assert reason_of(replace(message, subject="crm.dlq.acme")) is Reason.SUBJECT_MISMATCH


BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "e1",
    "ce-source": "/tests",
    "ce-type": "deal.closed_won",
    "ce-time": "2026-01-01T00:00:00Z",
    "ce-tenantid": "acme",
    "Content-Type": "application/json",
}


def binary(message: Message, body: bytes = b"{}", **others: str) -> Message:
    headers = {**BINARY, **{f"ce-{name}": value for name, value in others.items()}}
    return Message(message.subject, headers, body)


def test_binary_messages_are_read(message: Message) -> None:
    event = read(binary(message, b'{"a":1}', subject="d%207"))

    assert (event.id, event.tenant, event.subject, event.data) == ("e1", "acme", "d 7", {"a": 1})
    assert event.timestamp == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("Euro %E2%82%AC %F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("a%25b", "a%b"),
        ('"quoted"', "quoted"),
        ('"a \\"b\\" %20c"', 'a "b"  c'),
        ("a+b", "a+b"),
    ],
)
def test_header_values_are_decoded_once(message: Message, written: str, value: str) -> None:
    assert read(binary(message, subject=written)).subject == value


@pytest.mark.parametrize("value", ["%C0%A0", "%", "%zz", "%2", "%FF", "é", "a\tb"])
def test_a_header_that_is_wrongly_encoded_is_refused(message: Message, value: str) -> None:
    assert reason_of(binary(message, subject=value)) is Reason.INVALID_HEADER


def test_encoded_control_characters_are_refused(message: Message) -> None:
    assert reason_of(binary(message, subject="a%0D%0Ab")) is Reason.INVALID_ATTRIBUTE


def test_a_header_twice_in_two_spellings_is_refused(message: Message) -> None:
    found = binary(message)
    twice = replace(found, headers={**found.headers, "CE-TenantId": "globex"})

    assert reason_of(twice) is Reason.INVALID_HEADER


def test_a_binary_message_of_another_type_of_data_has_bytes(message: Message) -> None:
    found = binary(message, b"\xff\x00")
    image = replace(found, headers={**found.headers, "Content-Type": "image/png"})

    assert read(image).data == b"\xff\x00"
    assert read(binary(message, b"")).data is None
    assert reason_of(binary(message, b"\xff")) is Reason.INVALID_UTF8


def test_data_in_base64_is_read(message: Message) -> None:
    encoded = base64.b64encode(b'{"a":1}').decode()

    assert read(changed(message, data=..., data_base64=encoded)).data == {"a": 1}
    found = changed(message, data=..., data_base64=encoded, datacontenttype="image/png")
    assert read(found).data == b'{"a":1}'


@settings(max_examples=300)
@given(
    st.text(),
    st.dictionaries(
        st.sampled_from(["Content-Type", "ce-id", "CE-ID", "ce-type", "ce-data"]) | st.text(),
        st.sampled_from(["application/cloudevents+json", "1.0", "deal.closed_won"]) | st.text(),
    ),
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_any_message_is_an_event_or_a_bad_message(
    subject: str, headers: dict[str, str], body: bytes
) -> None:
    try:
        decode(subject, headers, body, Registry(), prefix="crm")
    except BadMessage as error:
        reason = error.reason
    else:
        return
    assert reason in Reason


@settings(max_examples=300)
@given(
    st.sampled_from(["id", "source", "type", "time", "tenantid", "subject", "data", "x"]),
    JSON,
)
def test_any_value_of_an_attribute_is_an_event_or_a_bad_message(name: str, value: Any) -> None:
    made = encode(Event(type="a.b", source="/t", tenant="acme", data={}), CONFIG)
    with suppress(BadMessage):
        read(changed(made, **{name: value}))


def test_no_error_holds_the_data(message: Message, make_event: Make) -> None:
    registry = Registry([type(make_event().data)])
    found = changed(message, data={"deal_id": {"secret": "hunter2"}, "amount": "hunter2"})
    with pytest.raises(BadMessage) as caught:
        read(found, registry)

    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error!s}{error!r}{getattr(error, '__notes__', '')}"
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 513, "\ud800", 7])
def test_a_key_that_is_no_text_is_refused(make_event: Make, key: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        encode(make_event(), CONFIG, key=key)
